"""The documents that a command names: open them, fetch their pages, detect their illustrations."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.command_line.outcome import show_progress
from app.command_line.workspace import Workspace
from app.detection.annotations import AnnotatedPage
from app.detection.parts import choose_grid, choose_side
from app.detection.weights import Weights
from app.detection.weights_description import describe
from app.errors import RequestError
from app.iiif.collection import Collection
from app.iiif.manifest import Manifest, build_file_ref
from app.images.formats import find_format
from app.jobs.requests import DetectionOptions, DetectionRequest
from app.jobs.requests.fields import check_url
from app.pipelines.detection import work
from app.pipelines.detection.expansion import MAX_MANIFESTS, expand
from app.pipelines.detection.pages import Coverage, FetchedPage, count_coverage, load_annotated, load_fetched
from app.pipelines.image_cache import ImageCache
from app.sources.documents import store_path
from app.sources.listing import Kind, ListedPage, Listing
from app.sources.local_pages import LocalPages
from app.sources.page_files import OWN_FOLDER, list_files
from app.storage import JobFolder, build_key, write_atomic

_HEAD = 1000


@dataclass(frozen=True)
class Document:
    """A document and the folder with the records of its pages.

    Attributes:
        source: URL or path, as the command names it.
        request: Request that describes the document to the pipeline.
        folder: Folder with the records of its pages.
        images: Folder of its cached images.
        manifest: Its canvases.
    """

    source: str
    request: DetectionRequest
    folder: JobFolder
    images: Path
    manifest: Manifest

    def load_fetched(self) -> list[FetchedPage]:
        return load_fetched(self.folder)

    def load_pages(self) -> list[AnnotatedPage]:
        """Return all pages with their detections, in order."""
        return load_annotated(self.folder, self.load_fetched())

    def count_coverage(self) -> Coverage:
        return count_coverage(self.load_pages())


class DocumentReader:
    """Opens, fetches and detects documents, each step as in a job of the service.

    Args:
        workspace: Output folder.
        weights: Detection weights. Their input size decides which size of images is requested.
        options: Options of the detection.
        refresh: Whether to fetch documents and images again.
    """

    def __init__(
        self, workspace: Workspace, weights: Weights, options: DetectionOptions, *, refresh: bool = False
    ) -> None:
        self._workspace, self._weights, self._options, self._refresh = workspace, weights, options, refresh
        self._size = describe(weights).choose_size(workspace.settings.model_size)

    def open(self, source: str) -> Document | Collection:
        """Open a document: fetch its manifest, or list its pages.

        Args:
            source: URL of a manifest, collection, zip file, PDF or list of images; or path of such a file, of an image
                or of a folder of images.

        Raises:
            FetchError: The document could not be fetched.
            ManifestError: The document cannot be used.
            RequestError: The source is neither a URL nor an existing path.
        """
        if "://" in source:
            request = self._build_request(manifest_url=check_url("SOURCE", source))
            folder = self._find_folder(request)
        else:
            path = Path(source)
            request = self._build_request(file_name=path.resolve().name, file_digest=_compute_digest(path))
            folder = self._find_folder(request)
            _store(path, folder)
        with show_progress(f"Opening {source}") as report:
            document = work.fetch_manifest(request, folder, self._workspace.fetcher, self._build_plan(request), report)
        if isinstance(document, Collection):
            return document
        return Document(source, request, folder, self._workspace.storage.images(request.origin), document)

    def expand(self, collection: Collection) -> list[str]:
        """Return the URLs of the manifests of a collection."""
        with show_progress("Reading the collection", "collection") as report:
            return expand(collection, self._workspace.fetcher, MAX_MANIFESTS, report)

    def fetch(self, document: Document) -> None:
        """Fetch the pages of a document. Pages that failed in an earlier run are fetched again.

        Raises:
            FetchError: No page could be fetched.
        """
        plan = self._build_plan(
            document.request, 1 + max((page.retries for page in document.load_fetched()), default=-1)
        )
        with show_progress(f"Fetching {document.manifest.ref}") as report:
            work.download(
                document.request,
                document.manifest,
                document.images,
                document.folder,
                self._workspace.fetcher,
                plan,
                report,
            )

    def detect(self, document: Document) -> None:
        """Detect the illustrations on the fetched pages of a document.

        Raises:
            WeightsError: The weights cannot be used.
        """
        with show_progress(f"Detecting {document.manifest.ref}") as report:
            detector = self._workspace.load_detector(self._weights, self._size)
            work.detect(document.request, document.images, document.folder, detector, report)

    def open_cache(self, document: Document) -> ImageCache:
        """Return the cache of the pages of a document."""
        plan = self._build_plan(document.request)
        return ImageCache(
            document.images,
            self._workspace.fetcher,
            plan.longest,
            cap_to_host_size=not document.request.image_size,
            choose_grid=partial(choose_grid, side=plan.side),
            local=LocalPages(document.folder),
        )

    def _build_request(self, **values: str) -> DetectionRequest:
        return DetectionRequest.from_form(self._options, refresh=self._refresh, **values)

    def _build_plan(self, request: DetectionRequest, retries: int = 0) -> work.DownloadPlan:
        settings = self._workspace.settings
        longest = request.choose_longest(settings.choose_longest_image(self._size))
        side = choose_side(request.tiles, self._size)
        limit = int(settings.max_dataset_mb * 1e6)
        return work.DownloadPlan(longest, settings.max_canvases, retries=retries, side=side, max_file_bytes=limit)

    def _find_folder(self, request: DetectionRequest) -> JobFolder:
        """Return the folder of a document: another one if its content or the size of its images differs."""
        key = build_key(json.dumps([request.origin, request.image_size, request.tiles]))
        folder = self._workspace.storage.job(key)
        if self._refresh:
            folder.remove()
        return folder


def _compute_digest(path: Path) -> str:
    """Return a digest of the content of a file, or of the names, sizes and times of the files in a folder.

    Raises:
        RequestError: There is no such file or folder, or a name is not text.
    """
    if not path.exists():
        raise RequestError(f"{path} does not exist: name a URL, a file or a folder.")
    if not path.is_file() and not path.is_dir():  # a device may be endless
        raise RequestError(f"{path} is neither a file nor a folder: name one.")
    files = list_files(path.resolve()) if path.is_dir() else [path.resolve()]
    for each in files:
        if re.search("[\ud800-\udfff]", str(each)):
            raise RequestError(f"{each} has a name that is not valid text: rename the file.")
    if path.is_dir():
        status = [(str(each), each.stat()) for each in files]
        return build_key(json.dumps([(name, found.st_size, found.st_mtime_ns) for name, found in status]))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _store(path: Path, folder: JobFolder) -> None:
    """Take a file or a folder as a document. An image is a document of one page."""
    if (path / OWN_FOLDER).is_dir():
        raise RequestError(f"{path} has results of this program: name the document itself.")
    folder.path.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        with path.open("rb") as file:
            if find_format(file.read(_HEAD)):
                pages = [ListedPage(path.name, path.name)]
                listing = Listing(Kind.FOLDER, str(path.resolve().parent), build_file_ref(path.name), "", pages)
                write_atomic(folder.listing, listing.format())
                return
    if path.is_dir() or not folder.listing.exists():
        store_path(path, folder)
