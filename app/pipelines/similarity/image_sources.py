"""Sources of the images of a document: the protocol, and the illustrations of a detection job."""

from collections.abc import Mapping
from typing import Protocol

from app.detection.annotations import PageStatus
from app.errors import ExtractorError
from app.exports.annotation_files import parse_pages
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_requests import parse_region
from app.iiif.manifest import Manifest
from app.jobs.requests.reading import show
from app.pipelines.image_cache import CachedImage, ImageCache
from app.pipelines.similarity.crops import Cropper, list_crop
from app.pipelines.similarity.documents import ImageList, ListedImage
from app.sources.documents import load_manifest
from app.storage import ILLUSTRATIONS, JobFolder

# Longer side of a requested whole image, as a multiple of the required shorter side. The proportions of the image are
# unknown before it is fetched.
LONGEST_RATIO = 3
# Largest number of images of a document. Comparing two such documents computes 400 million scores.
MAX_IMAGES = 20_000


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

    def close(self) -> None:
        """Release the file with the pages."""


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

    def close(self) -> None:
        return None


class DetectionSource:
    """The illustrations that a detection job found.

    Args:
        folder: Folder of the detection job.
        origin: Origin of the document of that job: its URL, or a text that identifies an uploaded file.
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
        origin: str,
        cache: ImageCache,
        pages: ImageCache,
        fetcher: Fetcher,
        shortest: int,
        max_images: int = MAX_IMAGES,
    ) -> None:
        self.name = f"{origin}{ILLUSTRATIONS}"
        self.cache = cache
        self._folder = folder
        self._origin = origin
        self._pages = pages
        self._max_images = max_images
        self._cropper = Cropper(cache, pages, fetcher, shortest, self._load_images)

    def list_images(self) -> ImageList:
        """List the illustrations as ``{image stem}_{x},{y},{w},{h}``. Pages without a detection are failed entries."""
        try:
            pages = parse_pages(self._folder.annotations_json.read_bytes())
            known = self._cropper.images
        except FileNotFoundError:
            return ImageList(
                error=f"The illustrations of {self._origin} were removed from this server: detect them again."
            )
        images: dict[str, ListedImage] = {}
        failed = []
        for page in pages:
            if page.status is PageStatus.FAILED:
                failed.append((page.image_name, f"Detection failed on canvas {page.number}: {page.reason}".strip()))
            for box in page.boxes:
                # Its URL requests the region, unless the regions of the service are not those of the upright page.
                size = page.width, page.height
                image = list_crop(page.number, page.image_name, box.xywh, known[page.number], size=size)
                if image.name in images:
                    failed.append((image.name, f"Canvas {page.number} and another canvas have images with this name."))
                images.setdefault(image.name, image)
        return check_length(ImageList(tuple(images.values()), tuple(failed)), self._origin, self._max_images)

    def fetch(self, image: ListedImage) -> CachedImage:
        return self._cropper.fetch(image)

    def close(self) -> None:
        self._pages.close()

    def _load_images(self) -> Mapping[int, CanvasImage]:
        return map_images(load_manifest(self._folder, self._origin))


def map_images(manifest: Manifest) -> dict[int, CanvasImage]:
    return {canvas.number: canvas.image for canvas in manifest.canvases if canvas.image}


def check_length(images: ImageList, origin: str, max_images: int) -> ImageList:
    """Return the list, or a list with an error if it has too many images or no usable one."""
    count = len(images.images) + len(images.failed)
    if count > max_images:
        return ImageList(error=f"{origin} has {count} images; at most {max_images} are accepted: split the document.")
    if images.images:
        return images
    if not images.failed:
        return ImageList(error=f"{origin} has no images.")
    name, reason = images.failed[0]
    error = f"{origin} has no usable image; the first of {count}, {show(name)}: {reason}"
    return ImageList(failed=images.failed, error=error)


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
