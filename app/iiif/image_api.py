"""IIIF image services, their ``info.json``, and the URLs of image requests.

Versions 1.1, 2.1 and 3.0: https://iiif.io/api/image/1.1/, https://iiif.io/api/image/2.1/, https://iiif.io/api/image/3.0/
All sizes are in image pixels, which may differ from canvas units.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import FetchError
from app.iiif.json_ld import read_address, read_ids, read_json, read_objects, read_size, read_strings, upgrade

# region/size/rotation/quality.format after the ID of an image: https://iiif.io/api/image/3.0/#4-image-requests
_IMAGE_REQUEST = re.compile(r"/[^/]+/[^/]+/!?[\d.]+/(default|native|color|gr[ae]y|bitonal)(\.\w+)?([?#].*)?$")
_WHOLE_IMAGE = re.compile(r"/full/(full|max)/0/\w+(\.\w+)?([?#].*)?$")
_INFO_REQUEST = re.compile(r"/+info\.json/*([?#].*)?$", re.I)
_LIMITS = ("maxWidth", "maxHeight", "maxArea")
# Qualities of whole pages and formats that this service reads, the best first.
_QUALITIES, _FORMATS = ("default", "native", "color", "gray", "grey"), ("jpg", "png", "webp", "tif", "jp2")


@dataclass(frozen=True)
class ImageService:
    """An image service as a manifest describes it.

    Attributes:
        id: Base URL of every request, without a trailing slash.
        version: Version of the Image API: 1, 2 or 3.
        level: Compliance level; a service of level 0 serves only the sizes that it lists.
    """

    id: str
    version: int
    level: int

    @property
    def info_url(self) -> str:
        return f"{self.id}/info.json"

    @property
    def full_size(self) -> str:
        """The keyword for the full size in an image request."""
        return "max" if self.version == 3 else "full"

    @property
    def file_name(self) -> str:
        """The last part of an image request: quality and format."""
        return "native.jpg" if self.version == 1 else "default.jpg"


@dataclass(frozen=True)
class ImageInfo:
    """Content of an ``info.json``.

    Attributes:
        service: Service with the version and level of ``info.json``, and the ID that was requested.
        width, height: Size of the full-size image.
        sizes: Preferred sizes of the server, as (width, height).
        max_width, max_height, max_area: Largest size of one request, or None.
        names: Possible last parts of an image request, the best first; empty for that of the version.
        is_substitute: Whether the server described another, possibly smaller image, because access is restricted.
    """

    service: ImageService
    width: int
    height: int
    sizes: tuple[tuple[int, int], ...] = ()
    max_width: int | None = None
    max_height: int | None = None
    max_area: int | None = None
    names: tuple[str, ...] = field(default=(), compare=False)
    is_substitute: bool = False


def strip_request(url: str) -> str:
    """Return an image URL without the image request at its end: the base URL of the service, if there is one."""
    return _IMAGE_REQUEST.sub("", url)


def asks_for_less(url: str) -> bool:
    """Return whether a URL requests less than the whole image at full size from an image service."""
    return bool(_IMAGE_REQUEST.search(url)) and not _WHOLE_IMAGE.search(url)


def clean_service_id(url: str) -> str:
    """Return the base URL of a service. Some manifests add ``info.json`` or an image request to it.

    >>> clean_service_id("https://a.example/iiif/1/info.json?x")
    'https://a.example/iiif/1'
    """
    while (base := strip_request(_INFO_REQUEST.sub("", url)).rstrip("/")) != url:
        url = base
    return base


def parse_service(block: Mapping[str, Any], image_url: str = "", document: str = "") -> ImageService | None:
    """Parse a service block of a manifest; return None if it is not an image service.

    Args:
        block: Service block. A service given only by its URL has only an ID.
        image_url: URL of the image that has the service. If it is an image request to the same service, the block does
            not need a type.
        document: URL of the manifest, to resolve a relative ID.
    """
    address = read_address(block, document)
    # A server that redirects http to https would redirect each request.
    base = upgrade(clean_service_id(address), image_url, document)
    words = _read_claims(block)
    if not base.startswith(("http://", "https://")):
        return None
    version, level = _find_version(words), _find_level(words)
    if "image" not in words.lower():
        is_image = level is not None or _INFO_REQUEST.search(address) or is_image_request(image_url, base)
        if not is_image:
            return None
        version = _guess_version(image_url)
    return ImageService(base, version or 2, 1 if level is None else level)


def is_image_request(url: str, base: str) -> bool:
    """Return whether a URL requests an image from the service with this base URL."""
    start = strip_request(url)
    return start != url and upgrade(start.rstrip("/"), base) == base


def derive_service(image_url: str) -> ImageService | None:
    """Derive the image service from an image URL, for images without a service in the manifest.

    The URL must request the whole image. The service gets level 0, so its first request is the same URL: if there is no
    such service, nothing is lost.
    """
    base = strip_request(image_url)
    service = ImageService(base.rstrip("/"), _guess_version(image_url), 0)
    whole = build_image_url(service, service.full_size)
    found = base.startswith(("http://", "https://")) and whole.removeprefix(service.id) == image_url.removeprefix(base)
    return service if found else None


def _guess_version(image_url: str) -> int:
    """Guess the version from the keywords of an image request; ``info.json`` overrides it later."""
    request = image_url.removeprefix(strip_request(image_url))
    return 1 if "/native" in request else 3 if "/max/" in request else 2


def _read_claims(block: Mapping[str, Any]) -> str:
    """Return what a service states about itself, as one text: ``…/api/image/2/context.json …/level1.json``."""
    keys = ("@context", "type", "@type", "profile", "protocol", "conformsTo")
    return " ".join(word for key in keys for word in read_ids(block.get(key)))


def _find_version(words: str) -> int | None:
    found = re.search(r"ImageService(\d)|/image(?:-api)?/(\d)|image-api/(?:compliance|conformance)", words, re.I)
    if not found:
        return None
    number = next(filter(None, found.groups()), "1")  # the compliance URIs of version 1 contain no number
    return min(max(int(number), 1), 3)


def _find_level(words: str) -> int | None:
    # The features of a service are the union of those of its profiles: https://iiif.io/api/image/2.1/#profile-description
    return max(map(int, re.findall(r"level[ _-]?(\d)", words, re.I)), default=None)


def parse_image_info(data: bytes, service: ImageService, url: str = "", is_restricted: bool = False) -> ImageInfo:
    """Parse an ``info.json``.

    The ID in the document is often wrong behind a proxy, so that of the service is kept. With tiered access, a redirect
    leads to another service, and a restricted ``info.json`` names it: https://iiif.io/api/auth/1.0/#tiered-access

    Args:
        data: JSON document.
        service: Service that was requested. Its version and level are used if the document does not state them.
        url: URL that answered; empty for the one that was requested.
        is_restricted: Whether access to the image was denied.

    Raises:
        FetchError: The document is not an ``info.json``.
    """
    try:
        info = next(iter(read_objects(read_json(data))), {})
    except ValueError as error:
        raise FetchError(f"{service.info_url} does not describe an image: it is not JSON.") from error
    width, height = read_size(info.get("width")), read_size(info.get("height"))
    if not (width and height):
        raise FetchError(f"{service.info_url} does not describe an image: it has no width or height.")
    words, limits = _read_claims(info), _find_limits(info)
    version, level = _find_version(words), _find_level(words)
    level = service.level if level is None else level
    if "sizeByW" in _find_features(info):
        level = max(level, 1)
    base = clean_service_id(url) if _INFO_REQUEST.search(url) else service.id
    if is_restricted:
        base = clean_service_id(read_address(info, url)) or base
    return ImageInfo(
        service=ImageService(base, version or service.version, level),
        width=width,
        height=height,
        sizes=tuple(_parse_sizes(info.get("sizes"))),
        max_width=limits.get("maxWidth"),
        max_height=limits.get("maxHeight", limits.get("maxWidth")),
        max_area=limits.get("maxArea"),
        names=_find_names(info, version or service.version),
        is_substitute=is_restricted or upgrade(service.id, base) != base,
    )


def _find_names(info: dict[str, Any], version: int) -> tuple[str, ...]:
    """Return the last parts of image requests to try, or nothing if the usual one is sure to exist.

    Version 1 lists all qualities and formats. From version 2, every level has ``default`` and ``jpg``, and the lists
    add others: https://iiif.io/api/image/2.1/#profile-description
    """
    places = [info, *read_objects(info.get("profile"))]
    keys = (("qualities", "extraQualities"), ("formats", "extraFormats", "preferredFormats"))
    qualities, formats = (
        {text.lower() for place in places for key in group for text in read_strings(place.get(key))} for group in keys
    )
    usual = "native" if version == 1 else "default"
    names = [
        f"{quality}.{form}"
        for form in _rank("jpg", formats, _FORMATS, version)
        for quality in _rank(usual, qualities, _QUALITIES, version)
    ]
    return tuple(names) if len(names) > 1 else ()


def _rank(usual: str, stated: set[str], known: Sequence[str], version: int) -> list[str]:
    """Return the usual value and the best other stated one; only the usual one if it is stated or nothing is."""
    others = [value for value in known if value in stated]
    if not others or usual in others:
        return [usual]
    return [others[0], usual] if version == 1 else [usual, others[0]]


def _find_limits(info: dict[str, Any]) -> dict[str, int]:
    """Return maxWidth, maxHeight and maxArea: at the top level in version 3, in ``profile`` in version 2."""
    places = [info, *read_objects(info.get("profile"))]
    return {name: limit for place in places for name in _LIMITS if (limit := read_size(place.get(name)))}


def _find_features(info: dict[str, Any]) -> set[str]:
    """Return the features beyond the level: at the top level in version 3, in ``profile`` in version 2."""
    inside = (name for place in read_objects(info.get("profile")) for name in read_strings(place.get("supports")))
    return {*read_strings(info.get("extraFeatures")), *inside}


def _parse_sizes(sizes: Any) -> list[tuple[int, int]]:
    found = ((read_size(size.get("width")), read_size(size.get("height"))) for size in read_objects(sizes))
    return sorted((width, height) for width, height in found if width and height)


def build_image_url(service: ImageService, size: str, name: str = "") -> str:
    """Return the URL of the whole image at a size in the syntax of the Image API (``full``, ``max``, ``640,``)."""
    return f"{service.id}/full/{size}/0/{name or service.file_name}"


def list_names(service: ImageService, image_url: str, info: ImageInfo | None) -> tuple[str, ...]:
    """Return the last parts of image requests to try, the best first.

    The image URL of the manifest shows a name that exists. Version 1 has ``native`` for ``default``, but its servers
    mix them up: http://iiif.io/api/image/2.0/change-log.html
    """
    found = _IMAGE_REQUEST.search(image_url) if is_image_request(image_url, service.id) else None
    own = f"{found[1]}{found[2] or '.jpg'}" if found else ""
    both = ("native.jpg", "default.jpg") if service.version == 1 else ("default.jpg", "native.jpg")
    if info is None or info.service.version == 1:
        names = [own, *(info.names if info else ()), *both]
    else:
        names = [*(info.names or (info.service.file_name,)), own or "native.jpg"]
    return tuple(dict.fromkeys(filter(None, names)))
