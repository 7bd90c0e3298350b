"""Fetch the image of a canvas, at the required size and no larger."""

import contextlib
from dataclasses import dataclass, replace

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageInfo, ImageService, build_image_url, parse_image_info
from app.iiif.image_requests import ImageRequest, build_requests, choose_size
from app.iiif.stated_sizes import StatedSizes
from app.iiif.tile_fetching import fetch_static
from app.iiif.tiles import needs_info
from app.net.addresses import read_host


@dataclass(frozen=True)
class FetchedImage:
    """An image file and the size of the full-size image.

    Attributes:
        data: Content of the file, unchanged.
        full_width, full_height: Size of the full-size image in image pixels, upright; the file may be smaller.
    """

    data: bytes
    full_width: int
    full_height: int


def fetch_canvas_image(
    fetcher: Fetcher, image: CanvasImage, longest: int | None, sizes: StatedSizes | None = None
) -> FetchedImage:
    """Fetch the image of a canvas.

    The size of the full-size image comes from the first of these sources that is available:

    1. the manifest, if a sample has confirmed its sizes (see :mod:`app.iiif.stated_sizes`);
    2. ``info.json``;
    3. the manifest, without confirmation;
    4. the full-size image, which is fetched and measured.

    All sizes are those of the upright image, see :mod:`app.images.orientation`. Some services state the size before
    the EXIF orientation is applied. If the fetched file, upright, is wide and the stated size is tall, or the other way
    round, the stated width and height are exchanged.

    Args:
        fetcher: HTTP client.
        image: Image to fetch.
        longest: Wanted length of the longer side, in pixels; None for the full size.
        sizes: Sizes that the manifest states; None to fetch the ``info.json`` of every image.

    Raises:
        FetchError: No form of the request returned an image.
    """
    if image.service is None:
        return FetchedImage(*fetcher.fetch_image([ImageRequest(image.url)]))
    stated = sizes.describe(image) if sizes else None
    if stated and sizes and not needs_info(stated, longest or max(stated.width, stated.height)):
        try:
            if fetched := _fetch_as_stated(fetcher, stated, longest):
                return fetched
            sizes.distrust(image)
        except FetchError as error:
            # Some servers answer 500 to a form of the request that they do not support.
            if error.temporary and error.http_status != 500:
                raise
    info = (sizes and sizes.find_sampled(image)) or _fetch_info(fetcher, image, image.service)
    if info is None:
        return _fetch_unmeasured(fetcher, image, image.service)
    return _fetch_by_info(fetcher, image, info, longest)


def fetch_info(fetcher: Fetcher, service: ImageService) -> ImageInfo:
    """Fetch and parse the ``info.json`` of a service.

    Raises:
        FetchError: It could not be fetched, or does not describe an image.
    """
    return parse_image_info(fetcher.fetch_document(service.info_url), service)


def _fetch_as_stated(fetcher: Fetcher, info: ImageInfo, longest: int | None) -> FetchedImage | None:
    """Fetch an image by a stated size. Return None if the size of the file shows that the stated size is wrong."""
    wanted, free = longest or max(info.width, info.height), _find_free_size(fetcher, info.service, longest)
    # Try only the first two forms. If the server rejects both, info.json states what it accepts.
    data, width, height = fetcher.fetch_image(build_requests(info, wanted, free)[:2])
    full = _turn(info, width, height)
    if full != (info.width, info.height):
        width, height = height, width
    requested = choose_size(info, wanted, free)
    # Servers compute one side from the other, and round it in different ways. In a listed size, both sides are rounded.
    is_expected = abs(width - requested[0]) <= 1 or width == info.width
    has_proportions = (width, height) == requested or abs(height - info.height * width / info.width) <= 1
    return FetchedImage(data, *full) if is_expected and has_proportions else None


def _turn(info: ImageInfo, width: int, height: int) -> tuple[int, int]:
    """Return the full size, turned like a file of the given upright size."""
    is_across = (width > height and info.width < info.height) or (width < height and info.width > info.height)
    return (info.height, info.width) if is_across else (info.width, info.height)


def _find_free_size(fetcher: Fetcher, service: ImageService, longest: int | None) -> int | None:
    """Return the ``image_size`` of the host, or None if the wanted image is larger anyway."""
    rule = fetcher.rules.find(read_host(service.id))
    return None if rule.is_large(longest) else rule.image_size


def _fetch_info(fetcher: Fetcher, image: CanvasImage, service: ImageService) -> ImageInfo | None:
    try:
        return fetch_info(fetcher, service)
    except FetchError:
        # Images are often available even if info.json is not; the manifest may state the size.
        if image.width and image.height:
            return ImageInfo(service, image.width, image.height)
        return None


def _fetch_by_info(fetcher: Fetcher, image: CanvasImage, info: ImageInfo, longest: int | None) -> FetchedImage:
    full = max(info.width, info.height)
    if info.tiles and info.service.level == 0:
        others = _add_own_address([], image, full)
        return FetchedImage(fetch_static(fetcher, info, longest or full, others), info.width, info.height)
    requests = build_requests(info, longest or full, _find_free_size(fetcher, info.service, longest))
    try:
        data, width, height = fetcher.fetch_image(_add_own_address(requests, image, full))
        return FetchedImage(data, *_turn(info, width, height))
    except FetchError as error:
        if info.tiles and error.http_status == 404:
            # A folder of tiles may state a higher level than it has. Levels above 0 include the format jpg.
            tiled = replace(info, sizes=(), formats=("jpg",))
            with contextlib.suppress(FetchError):
                return FetchedImage(fetch_static(fetcher, tiled, longest or full), info.width, info.height)
        raise


def _fetch_unmeasured(fetcher: Fetcher, image: CanvasImage, service: ImageService) -> FetchedImage:
    whole = ImageRequest(build_image_url(service, service.full_size))
    return FetchedImage(*fetcher.fetch_image(_add_own_address([whole], image, None)))


def _add_own_address(requests: list[ImageRequest], image: CanvasImage, full: int | None) -> list[ImageRequest]:
    """Return the requests followed by the image's own URL, unless it returns a reduced image.

    A reduced image would be measured as the full one, and all boxes would be wrong.
    """
    known = {request.url for request in requests}
    if not image.url or image.url in known or image.is_reduced:
        return requests
    return [*requests, ImageRequest(image.url, full)]
