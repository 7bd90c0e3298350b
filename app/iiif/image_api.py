"""IIIF image services: what they can do, and the URLs to ask them.

Versions 1.1, 2.1 and 3.0: https://iiif.io/api/image/1.1/, https://iiif.io/api/image/2.1/, https://iiif.io/api/image/3.0/.
All sizes are in image pixels, which need not be the canvas's.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from app.errors import FetchError


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


def parse_service(service: dict[str, Any]) -> ImageService | None:
    """Read a service block of a manifest, or an ``info.json``; None when it is not an image service."""
    base = service.get("id") or service.get("@id")
    if not isinstance(base, str) or not base.startswith(("http://", "https://")):
        return None
    words = json.dumps([service.get(key) for key in ("@context", "type", "@type", "profile", "protocol", "conformsTo")])
    if "image" not in words.lower():
        return None
    version = re.search(r"ImageService(\d)|image(?:-api)?/(?:api/)?(\d)|compliance(?:\.html)?#?(\d)?", words)
    number = next((int(group) for group in version.groups() if group), 1) if version else 2
    level = re.search(r"level(\d)", words)
    return ImageService(base.rstrip("/"), min(max(number, 1), 3), int(level[1]) if level else 1)


def parse_image_info(data: bytes, service: ImageService) -> ImageInfo:
    """Read an ``info.json``.

    Args:
        data: The JSON document.
        service: The service that was asked; its id is kept, whatever name the document gives itself.

    Raises:
        FetchError: It is not an ``info.json``.
    """
    try:
        info = json.loads(data)
        width, height = int(info["width"]), int(info["height"])
        if min(width, height) <= 0:
            raise ValueError(f"a size of {width} x {height}")
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise FetchError(f"{service.info_url} does not describe an image.") from error
    described = parse_service({**info, "id": service.id, "profile": info.get("profile", info.get("protocol"))})
    limits = _find_limits(info)
    return ImageInfo(
        service=ImageService(service.id, *((described.version, described.level) if described else (2, 0))),
        width=width,
        height=height,
        sizes=tuple(_parse_sizes(info.get("sizes"))),
        max_width=limits.get("maxWidth"),
        max_height=limits.get("maxHeight", limits.get("maxWidth")),
        max_area=limits.get("maxArea"),
    )


def _find_limits(info: dict[str, Any]) -> dict[str, int]:
    """Return maxWidth, maxHeight, maxArea: at the top in version 3, inside ``profile`` in version 2."""
    profile = info.get("profile")
    places = [info, *(part for part in (profile if isinstance(profile, list) else []) if isinstance(part, dict))]
    names = ("maxWidth", "maxHeight", "maxArea")
    return {n: p[n] for p in places for n in names if isinstance(p.get(n), int) and p[n] > 0}


def _parse_sizes(sizes: Any) -> list[tuple[int, int]]:
    found = [
        (size["width"], size["height"])
        for size in (sizes if isinstance(sizes, list) else [])
        if isinstance(size, dict) and isinstance(size.get("width"), int) and isinstance(size.get("height"), int)
    ]
    return sorted(size for size in found if min(size) > 0)


def choose_size(info: ImageInfo, longest: int) -> tuple[int, int]:
    """Return the (width, height) to ask for, so that the longer side is at least ``longest`` where possible.

    A size that the server has ready is taken when it is at most half as large again; never more than the full size,
    nor more than the server allows.
    """
    ready = [size for size in info.sizes if _allowed(info, size)]
    large_enough = [size for size in ready if max(size) >= longest]
    if info.service.level == 0 and ready:
        return min(large_enough, default=max(ready))
    near = [size for size in large_enough if max(size) <= 1.5 * longest]
    if near:
        return min(near)
    factor = min(1.0, longest / max(info.width, info.height))
    if info.max_width:
        factor = min(factor, info.max_width / info.width)
    if info.max_height:
        factor = min(factor, info.max_height / info.height)
    if info.max_area:
        factor = min(factor, (info.max_area / (info.width * info.height)) ** 0.5)
    width = info.width if factor == 1 else max(1, int(info.width * factor))
    return width, info.height if factor == 1 else max(1, round(info.height * width / info.width))


def _allowed(info: ImageInfo, size: tuple[int, int]) -> bool:
    width, height = size
    return (
        width <= min(info.width, info.max_width or width)
        and height <= min(info.height, info.max_height or height)
        and width * height <= (info.max_area or width * height)
    )


def build_image_urls(info: ImageInfo, longest: int) -> list[str]:
    """Return the requests for a whole image of about ``longest`` pixels, the best first.

    The later ones are for servers that do not do what they say: the canonical form of the same size, then all that
    the server gives.
    """
    width, height = choose_size(info, longest)
    everything = "max" if info.service.version == 3 else "full"
    forms = [f"{width},", f"{width},{height}", everything]
    if (width, height) == (info.width, info.height):
        forms = [everything]
    elif info.service.level == 0 and info.service.version == 3:
        forms = [f"{width},{height}", f"{width},", everything]
    return [build_image_url(info.service, size) for size in forms]


def build_image_url(service: ImageService, size: str) -> str:
    """Return the request for the whole image in a size as the Image API writes it (``full``, ``max``, ``640,``)."""
    quality = "native" if service.version == 1 else "default"
    return f"{service.id}/full/{size}/0/{quality}.jpg"
