"""IIIF image services: what they are, what they can do, and how an address asks one for an image.

Versions 1.1, 2.1 and 3.0: https://iiif.io/api/image/1.1/, https://iiif.io/api/image/2.1/, https://iiif.io/api/image/3.0/.
All sizes are in image pixels, which need not be the canvas's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import FetchError
from app.iiif.json_ld import read_address, read_ids, read_json, read_objects, read_size, read_strings

# region/size/rotation/quality.format behind an image's id: https://iiif.io/api/image/3.0/#4-image-requests
_IMAGE_REQUEST = re.compile(r"/[^/]+/[^/]+/!?[\d.]+/(default|native|color|gr[ae]y|bitonal)(\.\w+)?([?#].*)?$")
_WHOLE_IMAGE = re.compile(r"/full/(full|max)/0/\w+(\.\w+)?([?#].*)?$")
_LIMITS = ("maxWidth", "maxHeight", "maxArea")


@dataclass(frozen=True)
class ImageService:
    """An image service as a manifest names it.

    Attributes:
        id: Base of every request, without a slash at its end.
        version: Of the Image API: 1, 2 or 3.
        level: Of compliance; level 0 serves only the sizes that it lists.
    """

    id: str
    version: int
    level: int

    @property
    def info_url(self) -> str:
        return f"{self.id}/info.json"

    @property
    def full_size(self) -> str:
        """The word for the full size."""
        return "max" if self.version == 3 else "full"


@dataclass(frozen=True)
class ImageInfo:
    """What ``info.json`` says.

    Attributes:
        service: The service, as it describes itself but under the id that answered.
        width, height: Of the full-size image.
        sizes: (width, height) of the sizes that are ready on the server.
        max_width, max_height, max_area: What one request may ask for, or None.
    """

    service: ImageService
    width: int
    height: int
    sizes: tuple[tuple[int, int], ...] = ()
    max_width: int | None = None
    max_height: int | None = None
    max_area: int | None = None


def strip_request(url: str) -> str:
    """Return an image's address without the image request at its end: the base of the service, where there is one."""
    return _IMAGE_REQUEST.sub("", url)


def asks_for_less(url: str) -> bool:
    """Tell whether an address asks an image service for less than the whole image at its full size."""
    return bool(_IMAGE_REQUEST.search(url)) and not _WHOLE_IMAGE.search(url)


def parse_service(block: Mapping[str, Any], image_url: str = "") -> ImageService | None:
    """Read a service block of a manifest; None when it is not an image service.

    Args:
        block: The service; one that is given by its address alone has only an id.
        image_url: The address of the image that has the service. When it is an image request to that very service, the
            block need not say what it is.
    """
    base = read_address(block).rstrip("/")
    words = _read_claims(block)
    if not base.startswith(("http://", "https://")):
        return None
    version, level = _find_version(words), _find_level(words)
    if "image" not in words.lower():
        if strip_request(image_url) != base or image_url == base:
            return None
        version = _guess_version(image_url)
    return ImageService(base, version or 2, 1 if level is None else level)


def derive_service(image_url: str) -> ImageService | None:
    """Return the service that an image's address shows, where the manifest names none.

    Only of an address that asks for the whole image, and with level 0: should there be no such service after all, its
    first request is that same address, and nothing is lost.
    """
    service = ImageService(strip_request(image_url), _guess_version(image_url), 0)
    found = service.id.startswith(("http://", "https://")) and image_url == build_image_url(service, service.full_size)
    return service if found else None


def _guess_version(image_url: str) -> int:
    """Return the version in whose words an image is asked for; ``info.json`` will tell."""
    request = image_url.removeprefix(strip_request(image_url))
    return 1 if "/native" in request else 3 if "/max/" in request else 2


def _read_claims(block: Mapping[str, Any]) -> str:
    """Return the words in which a service says what it is: ``…/api/image/2/context.json …/level1.json``."""
    keys = ("@context", "type", "@type", "profile", "protocol", "conformsTo")
    return " ".join(word for key in keys for word in read_ids(block.get(key)))


def _find_version(words: str) -> int | None:
    found = re.search(r"ImageService(\d)|/image(?:-api)?/(\d)|image-api/(?:compliance|conformance)", words)
    if not found:
        return None
    number = next(filter(None, found.groups()), "1")  # the compliance pages of version 1 name none
    return min(max(int(number), 1), 3)


def _find_level(words: str) -> int | None:
    found = re.search(r"level(\d)", words)
    return int(found[1]) if found else None


def parse_image_info(data: bytes, service: ImageService) -> ImageInfo:
    """Read an ``info.json``.

    Args:
        data: The JSON document.
        service: The service that was asked; its id is kept, whatever name the document gives itself, and its version
            and level where the document says nothing of them.

    Raises:
        FetchError: It is not an ``info.json``.
    """
    try:
        info = next(iter(read_objects(read_json(data))), {})
    except ValueError as error:
        raise FetchError(f"{service.info_url} does not describe an image: it is not JSON.") from error
    width, height = read_size(info.get("width")), read_size(info.get("height"))
    if not (width and height):
        raise FetchError(f"{service.info_url} does not describe an image: it has no size.")
    words, limits = _read_claims(info), _find_limits(info)
    version, level = _find_version(words), _find_level(words)
    level = service.level if level is None else level
    if "sizeByW" in _find_features(info):
        level = max(level, 1)
    return ImageInfo(
        service=ImageService(service.id, version or service.version, level),
        width=width,
        height=height,
        sizes=tuple(_parse_sizes(info.get("sizes"))),
        max_width=limits.get("maxWidth"),
        max_height=limits.get("maxHeight", limits.get("maxWidth")),
        max_area=limits.get("maxArea"),
    )


def _find_limits(info: dict[str, Any]) -> dict[str, int]:
    """Return maxWidth, maxHeight, maxArea: at the top in version 3, inside ``profile`` in version 2."""
    places = [info, *read_objects(info.get("profile"))]
    return {name: limit for place in places for name in _LIMITS if (limit := read_size(place.get(name)))}


def _find_features(info: dict[str, Any]) -> set[str]:
    """Return what a service can do beyond its level: at the top in version 3, inside ``profile`` in version 2."""
    inside = (name for place in read_objects(info.get("profile")) for name in read_strings(place.get("supports")))
    return {*read_strings(info.get("extraFeatures")), *inside}


def _parse_sizes(sizes: Any) -> list[tuple[int, int]]:
    found = ((read_size(size.get("width")), read_size(size.get("height"))) for size in read_objects(sizes))
    return sorted((width, height) for width, height in found if width and height)


def build_image_url(service: ImageService, size: str) -> str:
    """Return the request for the whole image in a size as the Image API writes it (``full``, ``max``, ``640,``)."""
    quality = "native" if service.version == 1 else "default"
    return f"{service.id}/full/{size}/0/{quality}.jpg"
