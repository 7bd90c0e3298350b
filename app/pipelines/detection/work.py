"""The steps of a detection job, in this order:

    1. fetch_manifest  fetch the manifest and keep a copy in the job's folder
    2. download        fetch the image of every canvas into the image cache
    3. detect          run the detector page by page, then write the annotation files

In: a ``DetectionRequest``, a fetcher, a loaded detector. Out: ``annotations.txt`` and ``annotations.json``.

Each step skips what is already in the job's folder, so it can be repeated after any interruption. It calls:

    report(done, total, coverage)  with the progress; raises if the job was cancelled or moved to another worker.
                                   A coverage of None means "unchanged".
    count(status)                  once for each page, after a failed fetch or a detection
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from app.detection.annotations import AnnotatedPage, PageStatus, format_boxes
from app.detection.boxes import Detections
from app.detection.parts import choose_grid
from app.errors import FetchError
from app.exports.annotation_files import format_json, format_text
from app.iiif.canvas import Canvas
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest, parse_document
from app.iiif.stated_sizes import StatedSizes
from app.jobs import DetectionRequest
from app.net.addresses import read_host
from app.pipelines.detection.cutting import PageCutter
from app.pipelines.detection.expansion import MAX_MANIFESTS
from app.pipelines.detection.pages import (
    Coverage,
    FetchedPage,
    PageImage,
    adopt_ahead,
    count_coverage,
    discard_stale_detections,
    load_annotated,
    load_fetched,
    save_annotated,
    save_fetched,
)
from app.pipelines.image_cache import CircuitBreaker, ImageCache, evict
from app.storage import JobFolder, write_atomic

if TYPE_CHECKING:
    from app.detection.detector import Detector

# Interval at which a download reports its progress, and stops if the job was cancelled.
REPORT_SECONDS = 0.5
LONGEST_REASON = 500

Report = Callable[[int, int, Coverage | None], None]
Count = Callable[[PageStatus], None]


@dataclass(frozen=True)
class DownloadPlan:
    """How a job's images are fetched.

    Attributes:
        longest: Longer side to request, in pixels; None for the full size. If a page is cut, that of each part.
        max_canvases: Largest number of canvases of a manifest.
        max_manifests: Number of members after which parsing a collection stops.
        retries: Number of retries of the job so far.
        evict_unfetched: Whether a refresh removes cached images that this job did not fetch; False if another job uses
            them.
        side: Longest side of a part, see :func:`~app.detection.parts.choose_grid`.
    """

    longest: int | None = 800
    max_canvases: int = 5000
    max_manifests: int = MAX_MANIFESTS
    retries: int = 0
    evict_unfetched: bool = True
    side: int | None = None


def fetch_manifest(
    request: DetectionRequest, folder: JobFolder, fetcher: Fetcher, plan: DownloadPlan
) -> Manifest | Collection:
    """Fetch and parse the manifest. A resumed job uses the copy that it fetched first.

    Raises:
        FetchError: The manifest could not be fetched.
        ManifestError: The document is neither a manifest nor a collection.
    """
    is_new = not folder.manifest.exists()
    data = fetcher.fetch_document(request.manifest_url) if is_new else folder.manifest.read_bytes()
    document = parse_document(data, request.manifest_url, plan.max_canvases, plan.max_manifests)
    if is_new:
        write_atomic(folder.manifest, data)
    return document


def download(
    request: DetectionRequest,
    manifest: Manifest,
    images: Path,
    folder: JobFolder,
    fetcher: Fetcher,
    plan: DownloadPlan,
    report: Report,
    count: Count = lambda _: None,
) -> None:
    """Fetch the image of every canvas into the cache, and record each outcome in the job's folder.

    Args:
        request: Detection request; ``refresh`` fetches cached images again.
        manifest: Manifest whose canvases are fetched.
        images: Folder of the manifest's cached images.
        folder: Folder of the job.
        fetcher: HTTP client.
        plan: Sizes and limits of the download.
        report: Progress callback, called twice a second.
        count: Called with ``FAILED`` for each page that could not be fetched.

    Raises:
        FetchError: No image at all could be fetched.
    """
    cache = ImageCache(
        images,
        fetcher,
        plan.longest,
        cap_to_host_size=not request.image_size,
        refresh=request.refresh,
        choose_grid=partial(choose_grid, side=plan.side),
    )
    pages = {page.number: page for page in load_fetched(folder) if _is_settled(page, cache, folder, plan.retries)}
    seen = count_coverage(load_annotated(folder, []))
    breaker = CircuitBreaker()
    missing = [canvas for canvas in manifest.canvases if canvas.number not in pages]
    sizes = StatedSizes((canvas.image for canvas in missing if canvas.image), cache.fetch_info)
    executor = ThreadPoolExecutor(_count_threads(fetcher, missing), thread_name_prefix="fetch")

    def submit(canvases: Iterable[Canvas]) -> set[Future[FetchedPage]]:
        # Each task runs in a copy of the context of this thread, so its log lines name the same job.
        fetch = partial(_fetch_page, cache, sizes, manifest, breaker, plan.retries)
        return {executor.submit(copy_context().run, fetch, canvas) for canvas in canvases}

    try:
        waiting = submit(missing)
        while True:
            # Report even if no image has arrived: this call raises if the job was cancelled.
            report(len(pages), len(manifest.canvases), replace(seen, failed=_list_failures(pages.values())))
            if not waiting and not (waiting := submit(_evict_doubtful(sizes, missing, pages, images))):
                break
            for page in _take_finished(waiting, REPORT_SECONDS):
                save_fetched(folder, page)
                pages[page.number] = page
                if page.file is None:
                    count(PageStatus.FAILED)
    finally:
        # A cancelled job does not wait for a slow library.
        executor.shutdown(wait=False, cancel_futures=True)
    files = {page.file for page in pages.values() if page.file}
    if request.refresh and plan.evict_unfetched:
        cache.evict_all_except(files)
    if not files:
        raise FetchError(
            f"None of the {len(pages)} images of {request.manifest_url} could be fetched; "
            f"the first error: {pages[min(pages)].reason}"
        )


def _take_finished(waiting: set[Future[FetchedPage]], seconds: float) -> list[FetchedPage]:
    """Remove finished futures from ``waiting`` and return their results, after at most some seconds."""
    finished, _ = wait(waiting, timeout=seconds)
    waiting -= finished
    return [future.result() for future in finished]


def _is_settled(page: FetchedPage, cache: ImageCache, folder: JobFolder, retries: int) -> bool:
    """Return whether a canvas needs no fetch: it is detected, its image is cached, or it failed in this try."""
    if page.file is None:
        return page.retries == retries
    return folder.has("detections", page.number) or cache.holds(page.file)


def _count_threads(fetcher: Fetcher, canvases: Iterable[Canvas]) -> int:
    """Return the number of download threads: the largest connection limit among the hosts of the images."""
    hosts = {read_host(canvas.image.base) for canvas in canvases if canvas.image}
    return max((fetcher.rules.find(host).connections for host in hosts), default=1)


def _evict_doubtful(
    sizes: StatedSizes, canvases: Iterable[Canvas], pages: Mapping[int, FetchedPage], images: Path
) -> list[Canvas]:
    """Remove images from the cache if their stated size is doubtful. Return their canvases, to be fetched again."""
    doubtful = {*sizes.list_doubtful()}
    found = [canvas for canvas in canvases if canvas.image in doubtful and pages[canvas.number].file]
    for canvas in found:
        evict(images / str(pages[canvas.number].file))
    return found


def _fetch_page(
    cache: ImageCache, sizes: StatedSizes, manifest: Manifest, breaker: CircuitBreaker, retries: int, canvas: Canvas
) -> FetchedPage:
    page = FetchedPage(canvas.number, canvas.id, manifest.image_name(canvas), retries=retries)
    if canvas.image is None or breaker.reason:
        return replace(page, reason=canvas.reason or breaker.reason)
    try:
        cached = cache.fetch(canvas.image, sizes)
    except FetchError as error:
        breaker.record(error)
        return replace(page, reason=error.message[:LONGEST_REASON])
    breaker.record(None)
    return replace(page, file=cached.file, width=cached.width, height=cached.height, note=cached.note)


def _list_failures(pages: Iterable[FetchedPage]) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((page.number, page.reason) for page in pages if page.file is None))


def detect(
    request: DetectionRequest,
    images: Path,
    folder: JobFolder,
    detector: "Detector",
    report: Report,
    count: Count = lambda _: None,
) -> None:
    """Detect the illustrations on every fetched page, batch by batch, and write the annotation files.

    Args:
        request: Detection request. With ``image_size`` "full", the detector gets every pixel, as in the original
            extractorAPI.
        images: Folder of the manifest's cached images.
        folder: Folder of the job.
        detector: Loaded detector.
        report: Progress callback, called after every page; the coverage is updated after every batch.
        count: Called with the status of each page.
    """
    discard_stale_detections(folder, detector.digest)
    fetched = load_fetched(folder)
    for adopted in adopt_ahead(folder, fetched, detector.digest):
        count(adopted.status)
    annotated = {page.number: page for page in load_annotated(folder, fetched)}
    waiting = [page for page in fetched if page.number not in annotated]
    report(len(annotated), len(fetched), count_coverage(annotated.values()))
    for batch in detect_pages(request, images, detector, waiting):
        for page in batch:
            if page.status is not PageStatus.FAILED:
                save_annotated(folder, page)
            annotated[page.number] = page
            count(page.status)
            is_last = page is batch[-1]
            report(len(annotated), len(fetched), count_coverage(annotated.values()) if is_last else None)
    pages = [annotated[number] for number in sorted(annotated)]
    write_atomic(folder.annotations, format_text(pages).encode())
    write_atomic(folder.annotations_json, json.dumps(format_json(pages), ensure_ascii=False).encode())


def detect_pages(
    request: DetectionRequest,
    images: Path,
    detector: "Detector",
    pages: Sequence[FetchedPage],
    batches: int | None = None,
) -> Iterator[list[AnnotatedPage]]:
    """Yield the detected pages, batch by batch; at most ``batches``."""
    cutter = PageCutter(request, detector.config.size)
    split = cutter.split(detector.split(pages), detector.config.batch_size)
    yield from detector.run(partial(_detect_batch, images, cutter, detector), islice(split, batches))


def _detect_batch(
    images: Path, cutter: PageCutter, detector: "Detector", pages: Sequence[FetchedPage]
) -> list[AnnotatedPage]:
    batch = [cutter.load(images, page) for page in pages]
    found = iter(detector.detect([part.pixels for page in batch for part in page.parts]))
    return [
        _annotate(page.image, page.merge([next(found) for _ in page.parts], detector.config.iou), detector.class_names)
        for page in batch
    ]


def _annotate(image: PageImage, detections: Detections | None, class_names: Mapping[int, str]) -> AnnotatedPage:
    page = image.page
    if detections is None or page.width is None or page.height is None:
        return page.as_failed("The cached image was removed or damaged while the job ran: retry the job.")
    boxes = format_boxes(detections.scaled(image.size, (page.width, page.height)), class_names)
    status = PageStatus.DETECTED if boxes else PageStatus.EMPTY
    return AnnotatedPage(
        page.number, page.canvas_id, page.image_name, page.width, page.height, status, boxes, note=page.note
    )
