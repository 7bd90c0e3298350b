"""IIIF image services: what they can do, and the URLs to ask them.

Versions 1.1, 2.1 and 3.0: https://iiif.io/api/image/1.1/, https://iiif.io/api/image/2.1/, https://iiif.io/api/image/3.0/.
All sizes are in image pixels, which need not be the canvas's.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from app.errors import FetchError
from app.iiif.json_ld import read_id, read_objects, read_size, read_strings


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


def parse_service(block: dict[str, Any]) -> ImageService | None:
    """Read a service block of a manifest; None when it is not an image service."""
    base = read_id(block)
    words = _read_claims(block)
    if not base.startswith(("http://", "https://")) or "image" not in words.lower():
        return None
    version, level = _find_version(words), _find_level(words)
    return ImageService(base.rstrip("/"), version or 2, 1 if level is None else level)


def _read_claims(block: dict[str, Any]) -> str:
    """Return the words in which a service says what it is: ``…/api/image/2/context.json …/level1.json``."""
    keys = ("@context", "type", "@type", "profile", "protocol", "conformsTo")
    return " ".join(word for key in keys for word in read_strings(block.get(key)))


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
        info = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{service.info_url} does not describe an image: it is not JSON.") from error
    width, height = (read_size(info.get(key)) if isinstance(info, dict) else None for key in ("width", "height"))
    if not (width and height):
        raise FetchError(f"{service.info_url} does not describe an image: it has no size.")
    words = _read_claims(info)
    level = _find_level(words)
    limits = _find_limits(info)
    return ImageInfo(
        service=ImageService(
            service.id, _find_version(words) or service.version, service.level if level is None else level
        ),
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
    names = ("maxWidth", "maxHeight", "maxArea")
    return {name: limit for place in places for name in names if (limit := read_size(place.get(name)))}


def _parse_sizes(sizes: Any) -> list[tuple[int, int]]:
    found = ((read_size(size.get("width")), read_size(size.get("height"))) for size in read_objects(sizes))
    return sorted((width, height) for width, height in found if width and height)


def choose_size(info: ImageInfo, longest: int) -> tuple[int, int]:
    """Return the (width, height) to ask for, so that the longer side is at least ``longest`` where possible.

    A size that the server has ready is taken when it is at most half as large again; never more than the full size,
    nor more than the server allows.
    """
    ready = [size for size in info.sizes if _allowed(info, size)]
    large_enough = [size for size in ready if max(size) >= longest]
    if info.service.level == 0:
        full = info.width, info.height
        return min(large_enough, key=max, default=max(ready, key=max, default=full))
    near = [size for size in large_enough if max(size) <= 1.5 * longest]
    return min(near, key=max) if near else _scale(info, longest)


def _scale(info: ImageInfo, longest: int) -> tuple[int, int]:
    """Return the full size, reduced to what is wanted and to what the server allows."""
    area = info.width * info.height
    allowed = min(
        1.0,
        (info.max_width or info.width) / info.width,
        (info.max_height or info.height) / info.height,
        math.sqrt((info.max_area or area) / area),
    )
    wanted = math.ceil(info.width * longest / max(info.width, info.height))
    width = max(1, min(wanted, int(info.width * allowed)))
    height = max(1, round(info.height * width / info.width))
    return width, max(1, min(height, (info.max_area or area) // width))


def _allowed(info: ImageInfo, size: tuple[int, int]) -> bool:
    width, height = size
    return (
        width <= min(info.width, info.max_width or width)
        and height <= min(info.height, info.max_height or height)
        and width * height <= (info.max_area or width * height)
    )


def build_image_urls(info: ImageInfo, longest: int) -> list[str]:
    """Return the requests for a whole image of about ``longest`` pixels, the best first.

    The later ones are for servers that do not do what they say: other forms of the same size, and all that the server
    gives.
    """
    width, height = choose_size(info, longest)
    by_width, by_both = f"{width},", f"{width},{height}"
    everything = "max" if info.service.version == 3 else "full"
    forms = [by_width, by_both, everything]
    if (width, height) == (info.width, info.height):
        forms = [everything, by_width, by_both]
    elif info.service.level == 0 and info.service.version == 3:
        forms = [by_both, by_width, everything]
    return [build_image_url(info.service, size) for size in forms]


def build_image_url(service: ImageService, size: str) -> str:
    """Return the request for the whole image in a size as the Image API writes it (``full``, ``max``, ``640,``)."""
    quality = "native" if service.version == 1 else "default"
    return f"{service.id}/full/{size}/0/{quality}.jpg"
