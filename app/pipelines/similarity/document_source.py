"""The images of a document at a URL or in a file: its whole pages, or crops of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from app.errors import ManifestError
from app.iiif.canvas import Canvas, CanvasImage
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest
from app.iiif.stated_sizes import StatedSizes
from app.jobs.requests.crops import Crop
from app.net.addresses import read_host
from app.pipelines.image_cache import CachedImage, ImageCache
from app.pipelines.similarity.crops import Cropper, fetch_at_address, list_crop
from app.pipelines.similarity.documents import ImageList, ListedImage
from app.pipelines.similarity.image_sources import LONGEST_RATIO, MAX_IMAGES, check_length, map_images
from app.sources.documents import fetch_document, load_manifest
from app.sources.local_pages import LocalPages
from app.sources.recognition import Limits
from app.storage import CROPS, JobFolder

# ``max_images`` limits the pages.
DEFAULT_LIMITS = Limits(max_pages=10**6)


class DocumentSource:
    """The whole pages of a document at a URL, or crops of them: a list of images, a manifest, a zip file or a PDF.

    Args:
        url: URL of the document; "" for a stored file.
        folder: Folder for the document.
        origin: Key of the cached pages: the URL, or the digest of a stored file.
        images: Function that returns the folder of cached images for a key.
        fetcher: HTTP client.
        shortest: Required length of the shorter side of an image, in pixels.
        crops: Crops of the pages; without any, the whole pages are the images.
        limits: Limits of the document.
        max_images: Largest number of images.
    """

    may_grow = False

    def __init__(
        self,
        url: str,
        folder: JobFolder,
        origin: str,
        images: Callable[[str], Path],
        fetcher: Fetcher,
        shortest: int,
        *,
        crops: Sequence[Crop] = (),
        limits: Limits = DEFAULT_LIMITS,
        max_images: int = MAX_IMAGES,
    ) -> None:
        self.name = f"{origin}{CROPS}" if crops else origin
        self.host = read_host(url)
        self._url = url
        self._folder = folder
        self._fetcher = fetcher
        self._shortest = shortest
        self._crops = crops
        self._limits = limits
        self._max_images = max_images
        self._local = LocalPages(folder)
        self.cache = ImageCache(images(self.name), fetcher, LONGEST_RATIO * shortest, local=self._local)
        pages = ImageCache(images(origin), fetcher, None, local=self._local)
        self._cropper = Cropper(self.cache, pages, fetcher, shortest, self._load_images)

    def list_images(self) -> ImageList:
        document = fetch_document(self._url, self._folder, self._fetcher, self._limits)
        if isinstance(document, Collection):
            raise ManifestError(f"{self._url} is a collection: send its manifests one by one.")
        is_list = bool(document.file_ref) and not self._local.is_local
        found = self._list_crops(document) if self._crops else _list_pages(document, is_list)
        return check_length(found, document.url, self._max_images)

    def fetch(self, image: ListedImage) -> CachedImage:
        if image.xywh:
            return self._cropper.fetch(image)
        if image.canvas_number:
            return self.cache.fetch(self._cropper.images[image.canvas_number], self._sizes)
        return fetch_at_address(self.cache, self._fetcher, image.url, self._shortest)

    def close(self) -> None:
        self._local.close()

    @cached_property
    def _sizes(self) -> StatedSizes:
        return StatedSizes(self._cropper.images.values(), self.cache.fetch_info)

    def _load_images(self) -> Mapping[int, CanvasImage]:
        return map_images(load_manifest(self._folder, self._url))

    def _list_crops(self, manifest: Manifest) -> ImageList:
        """List the crops. A crop of an unknown page is a failed entry."""
        by_name: dict[str, Canvas] = {}
        for canvas in manifest.canvases:
            name = manifest.image_name(canvas)
            by_name.setdefault(PurePosixPath(name).stem, canvas)
            by_name[name] = canvas
        by_number = {canvas.number: canvas for canvas in manifest.canvases}
        images, failed = [], []
        for wanted in self._crops:
            page = by_name.get(wanted.image_name) if wanted.image_name else by_number.get(wanted.canvas_number)
            shown = wanted.image_name or f"canvas {wanted.canvas_number}"
            if page and page.image:
                images.append(list_crop(page.number, manifest.image_name(page), wanted.xywh, page.image, wanted.name))
            else:
                reason = page.reason if page else f"The document has no {shown}."
                failed.append((wanted.name or f"{shown}_{','.join(map(str, wanted.xywh))}", reason))
        return _reject_repeated(images, failed)


def _list_pages(manifest: Manifest, is_list: bool) -> ImageList:
    """List the whole pages. The images of a list have no canvas number, because their URLs may request regions."""
    images, failed = [], []
    for canvas in manifest.canvases:
        name = manifest.image_name(canvas)
        if canvas.image:
            images.append(ListedImage(name, canvas.image.url, 0 if is_list else canvas.number))
        else:
            failed.append((name, canvas.reason))
    return _reject_repeated(images, failed)


def _reject_repeated(images: Sequence[ListedImage], failed: Sequence[tuple[str, str]]) -> ImageList:
    """Return a list in which images with the same name as an earlier one are failed entries."""
    times = Counter(image.name for image in images)
    if len(times) == len(images):
        return ImageList(tuple(images), tuple(failed))
    first = {image.name: image for image in reversed(images)}
    repeated = [(image.name, "Another image has this name.") for image in images if first[image.name] is not image]
    return ImageList(tuple(first[name] for name in times), (*failed, *repeated))
