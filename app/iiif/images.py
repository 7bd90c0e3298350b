"""The image of a canvas, fetched at the size that is needed and no larger."""

from dataclasses import dataclass

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import (
    ImageInfo,
    ImageService,
    build_image_url,
    build_image_urls,
    choose_size,
    parse_image_info,
)


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
        return FetchedImage(*fetcher.fetch_image([image.url]))
    info = _fetch_info(fetcher, image, image.service)
    if info is None:
        return _fetch_unmeasured(fetcher, image, image.service)
    wanted = longest or max(info.width, info.height)
    urls = build_image_urls(info, wanted)
    if image.url and image.url not in urls and not image.is_reduced:
        urls.append(image.url)
    data, *_ = fetcher.fetch_image(urls, max(choose_size(info, wanted)))
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
    return FetchedImage(*fetcher.fetch_image(urls))
