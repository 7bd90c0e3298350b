"""Sources of the images of a document: a list that its client app serves, or the result of a detection job."""

import io
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Protocol

from PIL import Image

from app.errors import ExtractorError, FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import Box, derive_service
from app.iiif.image_requests import build_crop_url, parse_region
from app.iiif.images import FetchedImage
from app.iiif.manifest import parse_manifest
from app.iiif.regions import fetch_region
from app.images.pixels import decode_image, needs_turn
from app.net.addresses import read_host
from app.pipelines.image_cache import CachedImage, ImageCache, evict
from app.pipelines.similarity.documents import ImageList, ListedImage
from app.pipelines.similarity.image_lists import MAX_IMAGES, check_length, parse_image_list
from app.storage import JobFolder

# Longer side of a requested whole image, as a multiple of the required shorter side. The proportions of the image are
# unknown before it is fetched.
LONGEST_RATIO = 3


class ImageSource(Protocol):
    """The source of the images of a document.

    Attributes:
        name: Name of the source; the folder of its cached images is derived from it.
        cache: Cache of its images.
        host: Host of its list; "" if the list is local.
        may_grow: Whether a retry of the job reads the list again.
    """

    name: str
    cache: ImageCache
    host: str
    may_grow: bool

    def list_images(self) -> ImageList:
        """Return the list of images, or a list with an error."""

    def fetch(self, image: ListedImage) -> CachedImage:
        """Return an image from the cache; fetch it first if it is missing.

        Raises:
            FetchError: The image could not be fetched.
        """


class ListSource:
    """A list of images at a URL.

    Args:
        url: URL of the list.
        cache: Cache of its images, which requests whole images at a sufficient size.
        fetcher: HTTP client.
        shortest: Required length of the shorter side of an image, in pixels.
        max_images: Largest number of images in a list.
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
    """A source that cannot be used, such as a detection job that does not exist.

    Args:
        name: Name of the source.
        cache: Cache that stays empty.
        error: Error that explains why.
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
    """The illustrations that a detection job found.

    An illustration is requested as a region from the image service of its page. Without such a service, it is cropped
    from the cached page.

    Args:
        folder: Folder of the detection job.
        manifest_url: URL of the manifest of that job.
        cache: Cache of the illustrations.
        pages: Cache of the pages of the manifest.
        fetcher: HTTP client.
        shortest: Required length of the shorter side of an illustration, in pixels.
        max_images: Largest number of illustrations of a document.
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
        """List the illustrations as ``{image stem}_{x},{y},{w},{h}``. Pages without a detection are failed entries."""
        try:
            canvases = json.loads(self._folder.annotations_json.read_bytes())
            known = self._images
        except FileNotFoundError:
            return ImageList(
                error=f"The illustrations of {self._manifest_url} were removed from this server: detect them again."
            )
        images: dict[str, ListedImage] = {}
        failed = []
        for canvas in canvases:
            if canvas["status"] == "failed":
                reason = f"Detection failed on canvas {canvas['number']}: {canvas.get('reason', '')}"
                failed.append((canvas["image_name"], reason.strip()))
            for detection in canvas["detections"]:
                image = _list_illustration(canvas, detection["xywh"], known[canvas["number"]])
                if image.name in images:
                    failed.append(
                        (image.name, f"Canvas {canvas['number']} and another canvas have images with this name.")
                    )
                images.setdefault(image.name, image)
        return check_length(ImageList(tuple(images.values()), tuple(failed)), self._manifest_url, self._max_images)

    def fetch(self, image: ListedImage) -> CachedImage:
        if known := self.cache.find(self._name_crop(image)):
            return known
        if "#" in image.url or self.cache.servers.find_regions(image.url).refuses_all:
            return self._crop(image)
        try:
            region = fetch_at_address(self.cache, self._fetcher, image.url, self._shortest)
        except FetchError as error:
            if error.temporary:
                raise
            return self._crop(image)  # the service does not serve regions: crop from the page
        with (self.cache.folder / region.file).open("rb") as file:
            # A service that leaves the rotation to the viewer cuts regions from the page as it is stored.
            return self._crop(image) if needs_turn(file) else region

    def _crop(self, image: ListedImage) -> CachedImage:
        page = self._pages.fetch(self._images[image.canvas_number])
        x, y, w, h = image.xywh
        return self.cache.save(self._name_crop(image), crop(self._pages, page, (x, y, w, h)))

    def _name_crop(self, image: ListedImage) -> str:
        return f"{self._manifest_url} {image.canvas_number} {image.xywh}"

    @cached_property
    def _images(self) -> dict[int, CanvasImage]:
        """The images of the canvases of the manifest, by canvas number."""
        manifest = parse_manifest(self._folder.manifest.read_bytes(), self._manifest_url, max_canvases=10**9)
        return {canvas.number: canvas.image for canvas in manifest.canvases if canvas.image}


def _list_illustration(canvas: Mapping[str, Any], xywh: list[int], image: CanvasImage) -> ListedImage:
    """Return the list entry of an illustration.

    The URL requests the region at full size. For a page without such regions, it is the URL of the page with a media
    fragment (https://www.w3.org/TR/media-frags/#naming-space).
    """
    x, y, w, h = xywh
    shown = f"{x},{y},{w},{h}"
    url = build_crop_url(image, (x, y, w, h), (canvas.get("width"), canvas.get("height")))
    url = url or f"{image.url}#xywh={shown}"
    return ListedImage(f"{PurePosixPath(canvas['image_name']).stem}_{shown}", url, canvas["number"], (x, y, w, h))


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


def find_full_size(image: ListedImage, cached: CachedImage) -> tuple[int, int]:
    """Return the (width, height) of the full-size image. An illustration or a region has the size of its box.

    The record in the cache has another size for a region: the one that was fetched.
    """
    if image.xywh:
        return image.xywh[2], image.xywh[3]
    region = parse_region(image.url)
    if region is None:
        return cached.width, cached.height
    is_turned = region.end.startswith(("90/", "!90/", "270/", "!270/"))
    return (region.height, region.width) if is_turned else (region.width, region.height)


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
    except (OSError, SyntaxError, ValueError) as error:
        evict(path)
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
