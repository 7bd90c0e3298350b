"""The ``info.json`` of an image: sizes, limits, tiles, and the names of its files (Image API 1 to 3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import FetchError
from app.iiif.image_api import (
    IMAGE_REQUEST,
    INFO_REQUEST,
    ImageService,
    clean_service_id,
    find_level,
    find_version,
    is_image_request,
    read_claims,
)
from app.iiif.json_ld import read_address, read_json, read_list, read_objects, read_size, read_strings, upgrade

_TILE_KEYS_1 = {"width": "tile_width", "height": "tile_height", "scaleFactors": "scale_factors"}
_LIMITS = ("maxWidth", "maxHeight", "maxArea")
# Qualities of whole pages and formats that this service reads, the best first.
_QUALITIES, _FORMATS = ("default", "native", "color", "gray", "grey"), ("jpg", "png", "webp", "tif", "jp2")

Size = tuple[int, int]  # width and height


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
        names: Possible last parts of an image request, the best first; empty for that of the version.
        is_substitute: Whether the server described another, possibly smaller image, because access is restricted.
    """

    service: ImageService
    width: int
    height: int
    sizes: tuple[Size, ...] = ()
    max_width: int | None = None
    max_height: int | None = None
    max_area: int | None = None
    tiles: tuple[TileSet, ...] = ()
    formats: tuple[str, ...] = ()
    names: tuple[str, ...] = field(default=(), compare=False)
    is_substitute: bool = False


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
    words, limits = read_claims(info), _find_limits(info)
    version, level = find_version(words), find_level(words)
    level = service.level if level is None else level
    if "sizeByW" in _find_features(info):
        level = max(level, 1)
    base = clean_service_id(url) if INFO_REQUEST.search(url) else service.id
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
        tiles=tuple(_parse_tiles(info)),
        formats=tuple(_find_formats(info)),
        names=_find_names(info, version or service.version),
        is_substitute=is_restricted or upgrade(service.id, base) != base,
    )


def _find_names(info: dict[str, Any], version: int) -> tuple[str, ...]:
    """Return the last parts of image requests to try, or nothing if the usual one is sure to exist.

    Version 1 lists all qualities and formats. From version 2, every level has ``default`` and ``jpg``, and the lists
    add others: https://iiif.io/api/image/2.1/#profile-description
    """
    keys = (("qualities", "extraQualities"), ("formats", "extraFormats", "preferredFormats"))
    qualities, formats = (
        {text.lower() for place in _list_places(info) for key in group for text in read_strings(place.get(key))}
        for group in keys
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


def _list_places(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that may have limits, features and formats.

    They are at the top level in versions 1 and 3, and in ``profile`` in version 2.
    """
    return [info, *read_objects(info.get("profile"))]


def _find_limits(info: dict[str, Any]) -> dict[str, int]:
    places = _list_places(info)
    return {name: limit for place in places for name in _LIMITS if (limit := read_size(place.get(name)))}


def _find_features(info: dict[str, Any]) -> set[str]:
    """Return the features beyond the level."""
    keys = ("extraFeatures", "supports")
    return {name for place in _list_places(info) for key in keys for name in read_strings(place.get(key))}


def _find_formats(info: dict[str, Any]) -> list[str]:
    return [name for place in _list_places(info) for name in read_strings(place.get("formats"))]


def _parse_tiles(info: dict[str, Any]) -> Iterator[TileSet]:
    """Yield the sizes of tiles: the entries of ``tiles``, or the members of version 1."""
    old = {name: info.get(key) for name, key in _TILE_KEYS_1.items()}
    for entry in read_objects(info.get("tiles")) or [old]:
        width = read_size(entry.get("width"))
        factors = {factor for each in read_list(entry.get("scaleFactors")) if (factor := read_size(each))}
        if width:
            yield TileSet(width, read_size(entry.get("height")) or width, tuple(sorted(factors)) or (1,))


def _parse_sizes(sizes: Any) -> list[Size]:
    found = ((read_size(size.get("width")), read_size(size.get("height"))) for size in read_objects(sizes))
    return sorted((width, height) for width, height in found if width and height)


def list_names(service: ImageService, image_url: str, info: ImageInfo | None) -> tuple[str, ...]:
    """Return the last parts of image requests to try, the best first.

    The image URL of the manifest shows a name that exists. Version 1 has ``native`` for ``default``, but its servers
    mix them up: http://iiif.io/api/image/2.0/change-log.html
    """
    found = IMAGE_REQUEST.search(image_url) if is_image_request(image_url, service.id) else None
    own = f"{found[1]}{found[2] or '.jpg'}" if found else ""
    both = ("native.jpg", "default.jpg") if service.version == 1 else ("default.jpg", "native.jpg")
    if info is None or info.service.version == 1:
        names = [own, *(info.names if info else ()), *both]
    else:
        names = [*(info.names or (info.service.file_name,)), own or "native.jpg"]
    return tuple(dict.fromkeys(filter(None, names)))
