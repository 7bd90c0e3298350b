"""Fetch a region of an image, or a whole image in regions."""

import io
import itertools
import math

from PIL import Image

from app.errors import FetchError
from app.iiif.fetch import Fetcher
from app.iiif.image_api import Box, ImageService, build_region_url
from app.iiif.image_requests import Region, parse_region
from app.iiif.images import FetchedImage
from app.iiif.known_servers import KnownServers
from app.images.formats import encode_image
from app.images.pixels import decode_picture


def fetch_region(fetcher: Fetcher, region: Region, shortest: int, servers: KnownServers) -> FetchedImage:
    """Fetch a region of an image at a sufficient size.

    Args:
        fetcher: HTTP client.
        region: Region to fetch.
        shortest: Required length of the shorter side, in pixels.
        servers: Facts about the servers that are known from earlier images.

    Raises:
        FetchError: No form of the request returned an image.
    """
    requests, server = region.build_requests(shortest), servers.find_regions(region.url)
    with server.visit():
        if renamed := region.rename():
            others = renamed.build_requests(shortest)
            requests += [other for other in others if not server.working or other.form in server.working]
        requests = server.sort(requests)
        try:
            file = fetcher.fetch_image(requests)
        except FetchError as error:
            if not error.temporary:
                server.refuse(requests)
            raise
        server.refuse(requests[: requests.index(file.request)])
        server.working.add(file.request.form)
    return FetchedImage(file.data, *file.size)


def fetch_in_regions(
    fetcher: Fetcher, service: ImageService, full: tuple[int, int], longest: int, largest: int
) -> bytes:
    """Fetch an image region by region and join them, for servers that limit the size of one image.

    The limit is for example ``MAX_CVT`` of IIPImage (5000 pixels by default) or ``max_pixels`` of Cantaloupe:
    https://iipimage.sourceforge.io/documentation/server, https://cantaloupe-project.github.io/manual/5.0/

    Args:
        fetcher: HTTP client.
        service: Service of level 1 or higher.
        full: (width, height) of the full-size image.
        longest: Wanted length of the longer side, in pixels.
        largest: Longest side of a fetched region, in pixels.

    Returns:
        Content of an image file.

    Raises:
        FetchError: A region could not be fetched.
    """
    factor = min(1.0, longest / max(full))
    width, height = (max(1, round(side * factor)) for side in full)
    joined = Image.new("RGB", (width, height))
    for top, bottom in _split(height, largest):
        for left, right in _split(width, largest):
            # The edges of regions are whole pixels of the full-size image.
            x1, y1, x2, y2 = (round(edge / factor) for edge in (left, top, right, bottom))
            box = (x1, y1, min(x2, full[0]) - x1, min(y2, full[1]) - y1)
            joined.paste(_fetch_piece(fetcher, service, box, (right - left, bottom - top)), (left, top))
    return encode_image(joined)


def _split(length: int, largest: int) -> list[tuple[int, int]]:
    count = math.ceil(length / largest)
    edges = [round(number * length / count) for number in range(count + 1)]
    return list(itertools.pairwise(edges))


def _fetch_piece(fetcher: Fetcher, service: ImageService, box: Box, size: tuple[int, int]) -> Image.Image:
    url = build_region_url(service, box)
    region = parse_region(url)
    if region is None:
        raise FetchError(f"{url} is not a region of an image.")
    file = fetcher.fetch_image(region.build_requests(min(size)))
    return decode_picture(io.BytesIO(file.data))[0].resize(size, Image.Resampling.BILINEAR)
