"""Fetch an image in regions and join them, for servers that limit the size of one image.

The size of one image is limited for example by ``MAX_CVT`` of IIPImage (5000 pixels by default) and ``max_pixels`` of
Cantaloupe: https://iipimage.sourceforge.io/documentation/server, https://cantaloupe-project.github.io/manual/5.0/
"""

import io
import itertools
import math

from PIL import Image

from app.errors import FetchError
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageService
from app.iiif.image_requests import build_region_url, parse_region
from app.images.pixels import decode_image

QUALITY = 95


def fetch_in_regions(
    fetcher: Fetcher, service: ImageService, full: tuple[int, int], longest: int, largest: int
) -> bytes:
    """Fetch an image region by region. Return it as a JPEG file.

    Args:
        fetcher: HTTP client.
        service: Service of level 1 or higher.
        full: (width, height) of the full-size image.
        longest: Wanted length of the longer side, in pixels.
        largest: Longest side of a fetched region, in pixels.

    Raises:
        FetchError: A region could not be fetched.
    """
    factor = min(1.0, longest / max(full))
    width, height = (max(1, round(side * factor)) for side in full)
    sheet = Image.new("RGB", (width, height))
    for top, bottom in _split(height, largest):
        for left, right in _split(width, largest):
            # The edges of regions are whole pixels of the full-size image.
            x1, y1, x2, y2 = (round(edge / factor) for edge in (left, top, right, bottom))
            box = (x1, y1, min(x2, full[0]) - x1, min(y2, full[1]) - y1)
            piece = _fetch_region(fetcher, service, box, (right - left, bottom - top))
            sheet.paste(piece, (left, top))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _split(length: int, largest: int) -> list[tuple[int, int]]:
    count = math.ceil(length / largest)
    edges = [round(number * length / count) for number in range(count + 1)]
    return list(itertools.pairwise(edges))


def _fetch_region(
    fetcher: Fetcher, service: ImageService, box: tuple[int, int, int, int], size: tuple[int, int]
) -> Image.Image:
    url = build_region_url(service, box)
    region = parse_region(url)
    if region is None:
        raise FetchError(f"{url} is not a region of an image.")
    data, *_ = fetcher.fetch_image(region.build_requests(min(size)))
    return Image.fromarray(decode_image(io.BytesIO(data), None)[0]).resize(size, Image.Resampling.BILINEAR)
