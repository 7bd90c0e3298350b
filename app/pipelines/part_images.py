"""Fetch the image of a page that is cut into parts, large enough for the parts."""

import io
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import ParamSpec, TypeVar

from app.detection.parts import ChooseGrid
from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo
from app.iiif.images import FetchedImage
from app.iiif.regions import fetch_in_regions
from app.images.pixels import read_size

P = ParamSpec("P")
T = TypeVar("T")

# An image with less than this fraction of the needed pixels is fetched again.
ENOUGH = 0.9
# Shortest and longest side of a region, in pixels, for servers that do not return the whole image in the needed size.
REGION_SIDES = (1000, 2000)
# Regions are not smaller, even if the server states a lower limit: it then offers thumbnails only.
LEAST_REGION = 200
# A page on which fewer pixels are left of its shorter side is failed, not empty.
LEAST_SIDE = 64


def fetch_for_parts(
    fetch: Callable[[int], FetchedImage],
    fetcher: Fetcher,
    image: CanvasImage,
    longest: int,
    choose_grid: ChooseGrid,
    fetch_info: Callable[[ImageService], ImageInfo],
) -> FetchedImage:
    """Fetch the image of a page in the size that its parts need.

    A page with one part needs one request. If the manifest does not state the size of a page with several parts, a
    reduced image is fetched first. If the server refuses the needed size or returns less, the image is fetched in
    regions. If it refuses these too, the reduced image is used, unless it is only a strip.

    Args:
        fetch: Function that fetches the image; its argument is the longer side, in pixels.
        fetcher: HTTP client.
        image: Image to fetch.
        longest: Longer side of a page with one part, and of each part of another page, in pixels.
        choose_grid: Function that chooses the parts.
        fetch_info: Function that fetches the ``info.json`` of a service.

    Raises:
        FetchError: The image could not be fetched, or only a strip of it.
    """

    def enlarge(width: int, height: int) -> int:
        return choose_grid(width, height).choose_longest(longest, width, height)

    stated = enlarge(image.width, image.height) if image.width and image.height else longest
    fetched = _unless_refused(fetch, stated) if stated > longest else None
    fetched = fetched or fetch(longest)
    full = fetched.full_width, fetched.full_height
    needed = enlarge(*full)
    if needed == longest:
        return fetched
    if needed > stated and _is_short(fetched, needed):
        fetched = _unless_refused(fetch, needed) or fetched
    if not _is_short(fetched, needed):
        return fetched
    service, side = image.service, min(max(math.isqrt(math.prod(_measure(fetched))), REGION_SIDES[0]), REGION_SIDES[1])
    if service:
        with suppress(FetchError):
            info = fetch_info(service)
            # The regions of a substitute are in other pixels, so the ID of the manifest is kept.
            service, side = replace(info.service, id=service.id), min(side, max(_find_limit(info), LEAST_REGION))
    if service and service.level and (data := _unless_refused(fetch_in_regions, fetcher, service, full, needed, side)):
        return replace(fetched, data=data)
    width, height = _measure(fetched)
    if min(width, height) < min(LEAST_SIDE, *full):
        raise FetchError(
            f"{image.base} returns only {width} x {height} of {full[0]} x {full[1]} pixels, too few to detect anything."
        )
    return fetched


def _unless_refused(fetch: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
    """Call a function that fetches; return None if the server refuses the request.

    Raises:
        FetchError: A temporary error.
    """
    try:
        return fetch(*arguments, **options)
    except FetchError as error:
        if not error.is_refusal:
            raise
        return None


def _find_limit(info: ImageInfo) -> int:
    """Return the longest side of a square within the limits that a service states."""
    limits = info.max_width, info.max_height, info.max_area and math.isqrt(info.max_area)
    return min((limit for limit in limits if limit), default=REGION_SIDES[1])


def _is_short(fetched: FetchedImage, needed: int) -> bool:
    full = max(fetched.full_width, fetched.full_height)
    return max(_measure(fetched)) < ENOUGH * min(needed, full)


def _measure(fetched: FetchedImage) -> tuple[int, int]:
    return read_size(io.BytesIO(fetched.data))
