"""Where the images of a document come from: a list that its client app serves, or what a detection job has found."""

import io
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Protocol

from PIL import Image

from app.errors import ExtractorError, FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import derive_service
from app.iiif.image_requests import Box, build_region_url, parse_region
from app.iiif.images import FetchedImage
from app.iiif.manifest import parse_manifest
from app.images.pixels import decode_image
from app.net.addresses import read_host
from app.pipelines.image_cache import CachedImage, ImageCache, evict
from app.pipelines.similarity.documents import ImageList, ListedImage
from app.pipelines.similarity.image_lists import MAX_IMAGES, check_length, parse_image_list
from app.storage import JobFolder

# Of a whole image nobody knows how narrow it is: its longer side is this much longer than its shorter need be.
LONGEST_RATIO = 3


class ImageSource(Protocol):
    """Where the images of a document come from.

    Attributes:
        name: Of the folder in which its images are kept.
        cache: Of its images.
        host: Where its list is; "" when it is here.
        may_grow: Whether its list is read anew when the job is tried again.
    """

    name: str
    cache: ImageCache
    host: str
    may_grow: bool

    def list_images(self) -> ImageList:
        """Return what there is, or why there is nothing."""

    def fetch(self, image: ListedImage) -> CachedImage:
        """Return an image from the cache, fetched first if need be.

        Raises:
            FetchError: It could not be fetched.
        """


class ListSource:
    """A list at an address.

    Args:
        url: Its address.
        cache: Of its images; asks for whole ones at a size that suffices.
        fetcher: The HTTP client.
        shortest: What suffices of the shorter side of an image, in pixels.
        max_images: Images of a list.
    """

    may_grow = False

    def __init__(
        self, url: str, cache: ImageCache, fetcher: Fetcher, shortest: int, max_images: int = MAX_IMAGES
    ) -> None:
        self.name = url
        self.cache = cache
        self.host = read_host(url)
        self._fetcher = fetcher
        self._shortest = shortest
        self._max_images = max_images

    def list_images(self) -> ImageList:
        return parse_image_list(self._fetcher.fetch_document(self.name), self.name, self._max_images)

    def fetch(self, image: ListedImage) -> CachedImage:
        return fetch_at_address(self.cache, self._fetcher, image.url, self._shortest)


class MissingSource:
    """No source at all.

    Args:
        name: Of the folder in which its images would be.
        cache: Of the images.
        error: Says why.
    """

    host = ""
    may_grow = True

    def __init__(self, name: str, cache: ImageCache, error: ExtractorError) -> None:
        self.name = name
        self.cache = cache
        self._error = error

    def list_images(self) -> ImageList:
        raise self._error

    def fetch(self, image: ListedImage) -> CachedImage:
        raise self._error


class DetectionSource:
    """The illustrations that a detection job has found: regions of the pages' image services, or cut from the pages.

    Args:
        folder: Of the detection job.
        manifest_url: Of that job.
        cache: Of the illustrations.
        pages: The cache of the manifest's pages.
        fetcher: The HTTP client.
        shortest: What suffices of the shorter side of an illustration, in pixels.
        max_images: Illustrations of a document.
    """

    host = ""
    may_grow = True

    def __init__(
        self,
        folder: JobFolder,
        manifest_url: str,
        cache: ImageCache,
        pages: ImageCache,
        fetcher: Fetcher,
        shortest: int,
        max_images: int = MAX_IMAGES,
    ) -> None:
        self.name = f"{manifest_url} illustrations"
        self.cache = cache
        self._folder = folder
        self._manifest_url = manifest_url
        self._pages = pages
        self._fetcher = fetcher
        self._shortest = shortest
        self._max_images = max_images

    def list_images(self) -> ImageList:
        """Name each illustration ``{image stem}_{x},{y},{w},{h}``. Pages that were not looked at are failed ones."""
        try:
            canvases = json.loads(self._folder.annotations_json.read_bytes())
            known = self._images
        except FileNotFoundError:
            return ImageList(error=f"The illustrations of {self._manifest_url} are no longer here: detect them again.")
        images: dict[str, ListedImage] = {}
        failed = []
        for canvas in canvases:
            if canvas["status"] == "failed":
                reason = f"Canvas {canvas['number']} was not looked at: {canvas.get('reason', '')}"
                failed.append((canvas["image_name"], reason.strip()))
            for detection in canvas["detections"]:
                image = _list_illustration(canvas["number"], canvas["image_name"], detection["xywh"], known)
                if image.name in images:
                    failed.append((image.name, f"Another canvas than {canvas['number']} has an image of this name."))
                images.setdefault(image.name, image)
        return check_length(ImageList(tuple(images.values()), tuple(failed)), self._manifest_url, self._max_images)

    def fetch(self, image: ListedImage) -> CachedImage:
        if "#" in image.url or self.cache.find(self._name_cut(image)):
            return self._cut(image)
        try:
            return fetch_at_address(self.cache, self._fetcher, image.url, self._shortest)
        except FetchError as error:
            if error.temporary:
                raise
            return self._cut(image)  # a service that gives no regions gives the page

    def _cut(self, image: ListedImage) -> CachedImage:
        def cut() -> FetchedImage:
            page = self._pages.fetch(self._images[image.canvas_number])
            x, y, w, h = image.xywh
            return cut_out(self._pages, page, (x, y, w, h))

        return self.cache.keep(self._name_cut(image), cut)

    def _name_cut(self, image: ListedImage) -> str:
        return f"{self._manifest_url} {image.canvas_number} {image.xywh}"

    @cached_property
    def _images(self) -> dict[int, CanvasImage]:
        """The images of the manifest's canvases, by number."""
        manifest = parse_manifest(self._folder.manifest.read_bytes(), self._manifest_url, max_canvases=10**9)
        return {canvas.number: canvas.image for canvas in manifest.canvases if canvas.image}


def _list_illustration(number: int, page: str, xywh: list[int], images: Mapping[int, CanvasImage]) -> ListedImage:
    """Return an illustration with its name and its address.

    The address is that of the region at its full size; of a page without an image service that cuts out regions, which
    one of level 0 does not, the page's own with a media fragment (https://www.w3.org/TR/media-frags/#naming-space).
    """
    x, y, w, h = xywh
    image, shown = images[number], f"{x},{y},{w},{h}"
    cuts = image.service is not None and image.service.level > 0
    url = build_region_url(image.service, (x, y, w, h)) if image.service and cuts else f"{image.url}#xywh={shown}"
    return ListedImage(f"{PurePosixPath(page).stem}_{shown}", url, number, (x, y, w, h))


def fetch_at_address(cache: ImageCache, fetcher: Fetcher, url: str, shortest: int) -> CachedImage:
    """Return the image of an address: what asks an image service for a whole region or image, at a size that suffices.

    Raises:
        FetchError: It could not be fetched.
    """
    if region := parse_region(url):
        forms = region.build_requests(shortest)
        return cache.keep(f"{url} {shortest}", lambda: FetchedImage(*fetcher.fetch_image(forms)))
    return cache.fetch(CanvasImage(url, None, None, derive_service(url)))


def cut_out(pages: ImageCache, page: CachedImage, box: Box) -> FetchedImage:
    """Return a part of a page as an image file without loss.

    Args:
        pages: The cache in which the page is.
        page: It may be smaller there than in full.
        box: ``x y w h`` in pixels of the full-size image.

    Raises:
        FetchError: The page is no longer there, or is damaged; then it is forgotten.
    """
    path = pages.folder / page.file
    try:
        with path.open("rb") as file:
            pixels, (width, height) = decode_image(file, None)
    except (OSError, SyntaxError, ValueError) as error:
        evict(path)
        raise FetchError("Its page left the cache while the job ran: ask for a retry.", temporary=True) from error
    x, y, w, h = box
    left, right = _scale_edge(x, x + w, width / page.width, pixels.shape[1])
    top, bottom = _scale_edge(y, y + h, height / page.height, pixels.shape[0])
    content = io.BytesIO()
    Image.fromarray(pixels[top:bottom, left:right]).save(content, "PNG")
    return FetchedImage(content.getvalue(), right - left, bottom - top)


def _scale_edge(start: int, end: int, factor: float, length: int) -> tuple[int, int]:
    """Return the first pixel and that after the last, at least one and inside of the image."""
    first = min(max(0, math.floor(start * factor + 0.5)), length - 1)
    return first, min(max(first + 1, math.floor(end * factor + 0.5)), length)
