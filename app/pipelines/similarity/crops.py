"""Crops of pages: regions from the image service, or cut from cached pages."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from PIL import Image

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import Box, derive_service
from app.iiif.image_requests import build_crop_url, parse_region
from app.iiif.images import FetchedImage
from app.iiif.regions import fetch_region
from app.images.pixels import UNREADABLE, decode_image, needs_turn
from app.pipelines.image_cache import CachedImage, ImageCache, evict_damaged
from app.pipelines.similarity.documents import ListedImage


def list_crop(
    number: int,
    image_name: str,
    xywh: Sequence[int],
    image: CanvasImage,
    name: str = "",
    size: tuple[int | None, int | None] = (None, None),
) -> ListedImage:
    """Return the list entry of a crop, by default with the name ``{image stem}_{x},{y},{w},{h}``.

    The URL requests the region at full size. For a page without such regions, it is the URL of the page with a media
    fragment (https://www.w3.org/TR/media-frags/#naming-space).

    Args:
        number: Canvas number.
        image_name: Name of the image of the canvas.
        xywh: Box in pixels of the full-size image.
        image: Image of the canvas.
        name: Name of the crop.
        size: (width, height) of the upright page in pixels, if they are known.
    """
    x, y, w, h = xywh
    shown = f"{x},{y},{w},{h}"
    url = build_crop_url(image, (x, y, w, h), size)
    url = url or f"{image.url}{'&' if '#' in image.url else '#'}xywh={shown}"
    return ListedImage(name or f"{PurePosixPath(image_name).stem}_{shown}", url, number, (x, y, w, h))


class Cropper:
    """Fetches the crops of a document.

    A crop is requested as a region from the image service of its page. Without such a service, it is cut from the
    cached page.

    Args:
        cache: Cache of the crops.
        pages: Cache of the pages.
        fetcher: HTTP client.
        shortest: Required length of the shorter side of a crop, in pixels.
        load_images: Function that loads the images of the canvases, by canvas number.
    """

    def __init__(
        self,
        cache: ImageCache,
        pages: ImageCache,
        fetcher: Fetcher,
        shortest: int,
        load_images: Callable[[], Mapping[int, CanvasImage]],
    ) -> None:
        self._cache = cache
        self._pages = pages
        self._fetcher = fetcher
        self._shortest = shortest
        self._load_images = load_images

    @cached_property
    def images(self) -> Mapping[int, CanvasImage]:
        """The images of the canvases, by canvas number."""
        return self._load_images()

    def fetch(self, image: ListedImage) -> CachedImage:
        """Return a crop from the cache; fetch it first if it is missing.

        Raises:
            FetchError: It could not be fetched, or lies outside of the page.
        """
        if known := self._cache.find(self._name(image)):
            return known
        if "#" in image.url or self._cache.servers.find_regions(image.url).refuses_all:
            return self._cut(image)
        try:
            region = fetch_at_address(self._cache, self._fetcher, image.url, self._shortest)
        except FetchError as error:
            if error.temporary:
                raise
            return self._cut(image)  # the service does not serve regions: crop from the page
        with (self._cache.folder / region.file).open("rb") as file:
            # A service that leaves the rotation to the viewer cuts regions from the page as it is stored.
            return self._cut(image) if needs_turn(file) else region

    def _cut(self, image: ListedImage) -> CachedImage:
        page = self._pages.fetch(self.images[image.canvas_number])
        x, y, w, h = image.xywh
        if x >= page.width or y >= page.height:
            shown = f"The crop {x},{y},{w},{h} of canvas {image.canvas_number}"
            raise FetchError(f"{shown} lies outside of its image, which has {page.width} x {page.height} pixels.")
        return self._cache.save(self._name(image), crop(self._pages, page, (x, y, w, h)))

    def _name(self, image: ListedImage) -> str:
        return f"{self._pages.name_image(self.images[image.canvas_number])} {image.xywh}"


def fetch_at_address(cache: ImageCache, fetcher: Fetcher, url: str, shortest: int) -> CachedImage:
    """Fetch the image at a URL into the cache.

    A URL that requests a region or a whole image from an image service is fetched at a sufficient, smaller size.

    Args:
        cache: Cache of the image.
        fetcher: HTTP client.
        url: URL of the image.
        shortest: Required length of the shorter side, in pixels.

    Raises:
        FetchError: The image could not be fetched.
    """
    if region := parse_region(url):
        name = f"{url} {shortest}"
        return cache.find(name) or cache.save(name, fetch_region(fetcher, region, shortest, cache.servers))
    return cache.fetch(CanvasImage(url, None, None, derive_service(url)))


def crop(pages: ImageCache, page: CachedImage, box: Box) -> FetchedImage:
    """Crop a box from a cached page, as a PNG file.

    Args:
        pages: Cache with the page.
        page: Cached page, possibly at a reduced size.
        box: ``x y w h`` in pixels of the full-size image.

    Raises:
        FetchError: The page is no longer in the cache or is damaged; it is then removed from the cache.
    """
    path = pages.folder / page.file
    try:
        with path.open("rb") as file:
            pixels, (width, height) = decode_image(file, None)
    except UNREADABLE as error:
        evict_damaged(path, error)
        message = "The cached page was removed or damaged while the job ran: retry the job."
        raise FetchError(message, temporary=True) from error
    x, y, w, h = box
    left, right = _scale_edge(x, x + w, width / page.width, pixels.shape[1])
    top, bottom = _scale_edge(y, y + h, height / page.height, pixels.shape[0])
    content = io.BytesIO()
    Image.fromarray(pixels[top:bottom, left:right]).save(content, "PNG")
    return FetchedImage(content.getvalue(), right - left, bottom - top)


def _scale_edge(start: int, end: int, factor: float, length: int) -> tuple[int, int]:
    """Scale a range of pixels, and clip it to the image. The result contains at least one pixel."""
    first = min(max(0, math.floor(start * factor + 0.5)), length - 1)
    return first, min(max(first + 1, math.floor(end * factor + 0.5)), length)
