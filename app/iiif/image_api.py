"""IIIF image services, their ``info.json``, and the URLs of image requests.

Versions 1.1, 2.1 and 3.0: https://iiif.io/api/image/1.1/, https://iiif.io/api/image/2.1/, https://iiif.io/api/image/3.0/
All sizes are in image pixels, which may differ from canvas units.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import FetchError
from app.iiif.json_ld import (
    is_web_address,
    read_address,
    read_ids,
    read_json,
    read_list,
    read_objects,
    read_size,
    read_strings,
)

# region/size/rotation/quality.format after the ID of an image: https://iiif.io/api/image/3.0/#4-image-requests
_IMAGE_REQUEST = re.compile(r"/[^/]+/[^/]+/!?[\d.]+/(default|native|color|gr[ae]y|bitonal)(\.\w+)?([?#].*)?$")
_WHOLE_IMAGE = re.compile(r"/full/(full|max)/0/\w+(\.\w+)?([?#].*)?$")
_TILE_KEYS_1 = {"width": "tile_width", "height": "tile_height", "scaleFactors": "scale_factors"}
_LIMITS = ("maxWidth", "maxHeight", "maxArea")


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


@dataclass(frozen=True)
class TileSet:
    """Size of the tiles of an image, and the scale factors at which they exist: 2 for half of the full size."""

    width: int
    height: int
    scale_factors: tuple[int, ...]


@dataclass(frozen=True)
class ImageInfo:
    """Content of an ``info.json``.

    Attributes:
        service: Service with the version and level of ``info.json``, and the ID that was requested.
        width, height: Size of the full-size image.
        sizes: Preferred sizes of the server, as (width, height).
        max_width, max_height, max_area: Largest size of one request, or None.
        tiles: Tiles in which the image is served.
        formats: File extensions that the server states, in versions 1 and 2.
    """

    service: ImageService
    width: int
    height: int
    sizes: tuple[tuple[int, int], ...] = ()
    max_width: int | None = None
    max_height: int | None = None
    max_area: int | None = None
    tiles: tuple[TileSet, ...] = ()
    formats: tuple[str, ...] = ()


def strip_request(url: str) -> str:
    """Return an image URL without the image request at its end: the base URL of the service, if there is one."""
    return _IMAGE_REQUEST.sub("", url)


def asks_for_less(url: str) -> bool:
    """Return whether a URL requests less than the whole image at full size from an image service."""
    return bool(_IMAGE_REQUEST.search(url)) and not _WHOLE_IMAGE.search(url)


def parse_service(block: Mapping[str, Any], image_url: str = "") -> ImageService | None:
    """Parse a service block of a manifest; return None if it is not an image service.

    Args:
        block: Service block. A service given only by its URL has only an ID.
        image_url: URL of the image that has the service. If it is an image request to the same service, the block does
            not need a type.
    """
    base = read_address(block).rstrip("/")
    words = _read_claims(block)
    if not is_web_address(base):
        return None
    version, level = _find_version(words), _find_level(words)
    if "image" not in words.lower():
        if strip_request(image_url) != base or image_url == base:
            return None
        version = _guess_version(image_url)
    return ImageService(base, version or 2, 1 if level is None else level)


def derive_service(image_url: str) -> ImageService | None:
    """Derive the image service from an image URL, for images without a service in the manifest.

    The URL must request the whole image. The service gets level 0, so its first request is the same URL: if there is no
    such service, nothing is lost.
    """
    service = ImageService(strip_request(image_url), _guess_version(image_url), 0)
    found = is_web_address(service.id) and image_url == build_image_url(service, service.full_size)
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
    found = re.search(r"ImageService(\d)|/image(?:-api)?/(\d)|image-api/(?:compliance|conformance)", words)
    if not found:
        return None
    number = next(filter(None, found.groups()), "1")  # the compliance URIs of version 1 contain no number
    return min(max(int(number), 1), 3)


def _find_level(words: str) -> int | None:
    found = re.search(r"level(\d)", words)
    return int(found[1]) if found else None


def parse_image_info(data: bytes, service: ImageService) -> ImageInfo:
    """Parse an ``info.json``.

    Args:
        data: JSON document.
        service: Service that was requested. Its ID is kept, and its version and level are used if the document does not
            state them.

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
    return ImageInfo(
        service=ImageService(service.id, version or service.version, level),
        width=width,
        height=height,
        sizes=tuple(_parse_sizes(info.get("sizes"))),
        max_width=limits.get("maxWidth"),
        max_height=limits.get("maxHeight", limits.get("maxWidth")),
        max_area=limits.get("maxArea"),
        tiles=tuple(_parse_tiles(info)),
        formats=tuple(_find_formats(info)),
    )


def _find_limits(info: dict[str, Any]) -> dict[str, int]:
    """Return maxWidth, maxHeight and maxArea: at the top level in version 3, in ``profile`` in version 2."""
    places = [info, *read_objects(info.get("profile"))]
    return {name: limit for place in places for name in _LIMITS if (limit := read_size(place.get(name)))}


def _find_features(info: dict[str, Any]) -> set[str]:
    """Return the features beyond the level: at the top level in version 3, in ``profile`` in version 2."""
    inside = (name for place in read_objects(info.get("profile")) for name in read_strings(place.get("supports")))
    return {*read_strings(info.get("extraFeatures")), *inside}


def _find_formats(info: dict[str, Any]) -> list[str]:
    """Return the stated formats: at the top level in version 1, in ``profile`` in version 2."""
    return [name for place in [info, *read_objects(info.get("profile"))] for name in read_strings(place.get("formats"))]


def _parse_tiles(info: dict[str, Any]) -> Iterator[TileSet]:
    """Yield the sizes of tiles: the entries of ``tiles``, or the members of version 1."""
    old = {name: info.get(key) for name, key in _TILE_KEYS_1.items()}
    for entry in read_objects(info.get("tiles")) or [old]:
        width = read_size(entry.get("width"))
        factors = {factor for each in read_list(entry.get("scaleFactors")) if (factor := read_size(each))}
        if width:
            yield TileSet(width, read_size(entry.get("height")) or width, tuple(sorted(factors)) or (1,))


def _parse_sizes(sizes: Any) -> list[tuple[int, int]]:
    found = ((read_size(size.get("width")), read_size(size.get("height"))) for size in read_objects(sizes))
    return sorted((width, height) for width, height in found if width and height)


def build_image_url(service: ImageService, size: str) -> str:
    """Return the URL of the whole image at a size in the syntax of the Image API (``full``, ``max``, ``640,``)."""
    quality = "native" if service.version == 1 else "default"
    return f"{service.id}/full/{size}/0/{quality}.jpg"
