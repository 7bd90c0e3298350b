"""Fetch the image of a canvas at the required size and no larger."""

from dataclasses import dataclass

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageInfo, ImageService, build_image_url, parse_image_info
from app.iiif.image_requests import ImageRequest, build_requests
from app.net.addresses import read_host


@dataclass(frozen=True)
class FetchedImage:
    """An image file and the size of the full-size image.

    Attributes:
        data: Content of the file, unchanged.
        full_width, full_height: Size of the full-size image in image pixels; the file may be smaller.
    """

    data: bytes
    full_width: int
    full_height: int


def fetch_canvas_image(fetcher: Fetcher, image: CanvasImage, longest: int | None) -> FetchedImage:
    """Fetch the image of a canvas.

    The full size comes from ``info.json``, otherwise from the manifest. If neither states it, the full image is fetched
    and measured.

    Args:
        fetcher: HTTP client.
        image: Image to fetch.
        longest: Wanted length of the longer side, in pixels; None for the full size.

    Raises:
        FetchError: No form of the request returned an image.
    """
    if image.service is None:
        return FetchedImage(*fetcher.fetch_image([ImageRequest(image.url)]))
    info = _fetch_info(fetcher, image, image.service)
    if info is None:
        return _fetch_unmeasured(fetcher, image, image.service)
    full = max(info.width, info.height)
    requests = build_requests(info, longest or full, _find_free_size(fetcher, image.service, longest))
    data, *_ = fetcher.fetch_image(_add_own_address(requests, image, full))
    return FetchedImage(data, info.width, info.height)


def _find_free_size(fetcher: Fetcher, service: ImageService, longest: int | None) -> int | None:
    """Return the ``image_size`` of the host, or None if the wanted image is larger anyway."""
    rule = fetcher.rules.find(read_host(service.id))
    return None if rule.is_large(longest) else rule.image_size


def _fetch_info(fetcher: Fetcher, image: CanvasImage, service: ImageService) -> ImageInfo | None:
    try:
        return parse_image_info(fetcher.fetch_document(service.info_url), service)
    except FetchError:
        # Images are often available even if info.json is not; the manifest may state the size.
        if image.width and image.height:
            return ImageInfo(service, image.width, image.height)
        return None


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
