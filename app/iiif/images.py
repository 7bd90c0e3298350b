"""The image of a canvas, fetched at the size that is needed and no larger."""

from dataclasses import dataclass

from app.errors import FetchError
from app.iiif.fetch import Fetcher
from app.iiif.image_api import (
    ImageInfo,
    ImageService,
    build_image_url,
    build_image_urls,
    parse_image_info,
)
from app.iiif.manifest import CanvasImage

# A size that a server does not serve; anything else would be the same for every size.
_WRONG_SIZE = frozenset({400, 403, 404, 405, 501})


@dataclass(frozen=True)
class FetchedImage:
    """An image file and what it shows.

    Attributes:
        data: The file as it came.
        full_width, full_height: Size of the full-size image, in image pixels; the file may be smaller.
    """

    data: bytes
    full_width: int
    full_height: int


def fetch_canvas_image(fetcher: Fetcher, image: CanvasImage, longest: int | None) -> FetchedImage:
    """Fetch the image of a canvas.

    The full size is what ``info.json`` says; without one, what the manifest says of the image; without either, the
    image is asked for in full and counted.

    Args:
        fetcher: The HTTP client.
        image: The image to fetch.
        longest: Wanted length of the longer side in pixels; None for the full size.

    Raises:
        FetchError: No form of the request gave an image.
    """
    if image.service is None:
        data, width, height = fetcher.fetch_image(image.url)
        return FetchedImage(data, width, height)
    info = _fetch_info(fetcher, image, image.service)
    if info is None:
        return _fetch_unmeasured(fetcher, image, image.service)
    urls = build_image_urls(info, longest or max(info.width, info.height))
    data, *_ = _fetch_first(fetcher, urls)
    return FetchedImage(data, info.width, info.height)


def _fetch_info(fetcher: Fetcher, image: CanvasImage, service: ImageService) -> ImageInfo | None:
    try:
        return parse_image_info(fetcher.fetch_document(service.info_url), service)
    except FetchError:
        # Images often work where info.json does not; the manifest may know the size.
        if image.width and image.height:
            return ImageInfo(service, image.width, image.height)
        return None


def _fetch_unmeasured(fetcher: Fetcher, image: CanvasImage, service: ImageService) -> FetchedImage:
    urls = [build_image_url(service, "max" if service.version == 3 else "full")]
    # A reduced image would be counted as if it were the full one, and every box would lie elsewhere.
    if image.url and image.url not in urls and not image.is_reduced:
        urls.append(image.url)
    return FetchedImage(*_fetch_first(fetcher, urls))


def _fetch_first(fetcher: Fetcher, urls: list[str]) -> tuple[bytes, int, int]:
    """Return the first of several forms of a request that the server accepts."""
    *others, last = urls
    for url in others:
        try:
            return fetcher.fetch_image(url)
        except FetchError as error:
            if error.http_status not in _WRONG_SIZE:
                raise
    return fetcher.fetch_image(last)
