"""The order of work of a detection job: manifest → images → detections → annotation file.

``download`` and ``detect`` are its stages. Each works on the job's folder, skips what lies there already, and so can
be run again after any interruption. Each says how far it is through ``report(done, total, coverage)``, which raises
when the job is no longer wanted; a coverage of None is the same as before. ``count(status)`` is told each page once:
when it could not be fetched, or was looked at.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.detection.annotations import AnnotatedPage, PageStatus, format_boxes, format_json, format_text
from app.detection.boxes import Detections
from app.errors import FetchError
from app.iiif.canvas import Canvas
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.images import fetch_info
from app.iiif.manifest import Manifest, parse_document
from app.iiif.stated_sizes import StatedSizes
from app.jobs import DetectionRequest
from app.net.addresses import read_host
from app.pipelines.detection.expansion import MAX_MANIFESTS
from app.pipelines.detection.pages import (
    Coverage,
    FetchedPage,
    PageImage,
    count_coverage,
    load_annotated,
    load_batches,
    load_fetched,
    save_annotated,
    save_fetched,
)
from app.pipelines.image_cache import CircuitBreaker, ImageCache, evict
from app.storage import JobFolder, write_atomic

if TYPE_CHECKING:
    from app.detection.detector import Detector

# How often a download says how far it is, and learns whether it is still wanted.
REPORT_SECONDS = 0.5
LONGEST_REASON = 500

Report = Callable[[int, int, Coverage | None], None]
Count = Callable[[PageStatus], None]


@dataclass(frozen=True)
class DownloadPlan:
    """How a job's images are fetched.

    Attributes:
        longest: Longer side to ask for, in pixels; None for the full size.
        max_canvases: A longer manifest is refused.
        max_manifests: No more of a collection is read than shows that it has more.
        retries: How often the canvases that failed have been asked for again.
        evict_unfetched: Whether a refresh removes the images that it did not fetch; not while other jobs need them.
    """

    longest: int | None = 800
    max_canvases: int = 5000
    max_manifests: int = MAX_MANIFESTS
    retries: int = 0
    evict_unfetched: bool = True


def fetch_manifest(
    request: DetectionRequest, folder: JobFolder, fetcher: Fetcher, plan: DownloadPlan
) -> Manifest | Collection:
    """Fetch the manifest once: a job that goes on keeps the one with which it began.

    Raises:
        FetchError, ManifestError: It did not come, or is neither a manifest nor a collection of some.
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
    """Fetch the image of every canvas into the cache, and keep a record of what came of each.

    Args:
        request: Says whether to fetch anew what is cached.
        manifest: Its canvases are fetched.
        images: The folder of the manifest's cached images.
        folder: The job's own.
        fetcher: The HTTP client.
        plan: Size and number of the requests.
        report: Called twice a second.
        count: Told the pages that could not be fetched.

    Raises:
        FetchError: Not one image could be fetched.
    """
    cache = ImageCache(images, fetcher, plan.longest, cap_to_host_size=not request.image_size, refresh=request.refresh)
    pages = {page.number: page for page in load_fetched(folder) if _is_settled(page, cache, folder, plan.retries)}
    seen = count_coverage(load_annotated(folder, []))
    breaker = CircuitBreaker()
    missing = [canvas for canvas in manifest.canvases if canvas.number not in pages]
    sizes = StatedSizes((canvas.image for canvas in missing if canvas.image), partial(fetch_info, fetcher))
    executor = ThreadPoolExecutor(_count_threads(fetcher, missing), thread_name_prefix="fetch")

    def submit(canvases: Iterable[Canvas]) -> set[Future[FetchedPage]]:
        # Each thread in a copy of this one's context: its log lines belong to the same job.
        fetch = partial(_fetch_page, cache, sizes, manifest, breaker, plan.retries)
        return {executor.submit(copy_context().run, fetch, canvas) for canvas in canvases}

    try:
        waiting = submit(missing)
        while True:
            # Also while nothing comes: whether the job is still wanted is learned here.
            report(len(pages), len(manifest.canvases), replace(seen, failed=_list_failures(pages.values())))
            if not waiting and not (waiting := submit(_evict_doubtful(sizes, missing, pages, images))):
                break
            for page in _take_finished(waiting, REPORT_SECONDS):
                save_fetched(folder, page)
                pages[page.number] = page
                if page.file is None:
                    count(PageStatus.FAILED)
    finally:
        # A job that is no longer wanted does not wait for a library that lets it wait.
        executor.shutdown(wait=False, cancel_futures=True)
    files = {page.file for page in pages.values() if page.file}
    if request.refresh and plan.evict_unfetched:
        cache.evict_all_except(files)
    if not files:
        raise FetchError(
            f"None of the {len(pages)} images of {request.manifest_url} could be fetched; "
            f"the first: {pages[min(pages)].reason}"
        )


def _take_finished(waiting: set[Future[FetchedPage]], seconds: float) -> list[FetchedPage]:
    """Wait for some seconds, and take what has finished by then from among what is waited for."""
    finished, _ = wait(waiting, timeout=seconds)
    waiting -= finished
    return [future.result() for future in finished]


def _is_settled(page: FetchedPage, cache: ImageCache, folder: JobFolder, retries: int) -> bool:
    """Tell whether a canvas needs no more fetching: it was looked at, its image is there, or it failed this time."""
    if page.file is None:
        return page.retries == retries
    return folder.has("detections", page.number) or cache.holds(page.file)


def _count_threads(fetcher: Fetcher, canvases: Iterable[Canvas]) -> int:
    """Return the largest number of connections to a host of the images."""
    hosts = {read_host(canvas.image.base) for canvas in canvases if canvas.image}
    return max((fetcher.rules.find(host).connections for host in hosts), default=1)


def _evict_doubtful(
    sizes: StatedSizes, canvases: Iterable[Canvas], pages: Mapping[int, FetchedPage], images: Path
) -> list[Canvas]:
    """Remove the images whose stated size is doubtful from the cache; return their canvases."""
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
    return replace(page, file=cached.file, width=cached.width, height=cached.height)


def _list_failures(pages: Iterable[FetchedPage]) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((page.number, page.reason) for page in pages if page.file is None))


def discard_stale_detections(folder: JobFolder, digest: str) -> None:
    """Forget what other weights have found: every page of a result is looked at by the same.

    A job keeps the name of the weights with which it began, but their file may have been replaced since.

    Args:
        folder: The job's.
        digest: Of the weights that are to look at its pages.
    """
    with suppress(FileNotFoundError):
        if json.loads(folder.detected_by.read_bytes())["sha256"] == digest:
            return
        folder.remove_records("detections")
    write_atomic(folder.detected_by, json.dumps({"sha256": digest}).encode())


def detect(
    request: DetectionRequest,
    images: Path,
    folder: JobFolder,
    detector: "Detector",
    report: Report,
    count: Count = lambda _: None,
) -> None:
    """Look at every page that was fetched, a batch at a time, and write the result.

    Args:
        request: Who asks for the full size has every pixel given to the detector, as the original did.
        images: The folder of the manifest's cached images.
        folder: The job's own.
        detector: Loaded beforehand.
        report: Called after every page; the coverage is counted once a batch.
        count: Told what came of each page.
    """
    discard_stale_detections(folder, detector.digest)
    fetched = load_fetched(folder)
    annotated = {page.number: page for page in load_annotated(folder, fetched)}
    waiting = [page for page in fetched if page.number not in annotated]
    report(len(annotated), len(fetched), count_coverage(annotated.values()))
    least = None if request.image_size == "full" else detector.config.size
    for batch in load_batches(images, waiting, detector.config.batch_size, least):
        for page in _detect_batch(batch, detector):
            if page.status is not PageStatus.FAILED:
                save_annotated(folder, page)
            annotated[page.number] = page
            count(page.status)
            report(len(annotated), len(fetched), None)
        report(len(annotated), len(fetched), count_coverage(annotated.values()))
    pages = [annotated[number] for number in sorted(annotated)]
    write_atomic(folder.annotations, format_text(pages).encode())
    write_atomic(folder.annotations_json, json.dumps(format_json(pages), ensure_ascii=False).encode())


def _detect_batch(batch: list[PageImage], detector: "Detector") -> list[AnnotatedPage]:
    found = iter(detector.detect([image.pixels for image in batch if image.pixels is not None]))
    return [_annotate(image, None if image.pixels is None else next(found), detector.class_names) for image in batch]


def _annotate(image: PageImage, detections: Detections | None, class_names: Mapping[int, str]) -> AnnotatedPage:
    page = image.page
    if detections is None or page.width is None or page.height is None:
        return page.as_failed("The image left the cache while the job ran: ask for a retry.")
    boxes = format_boxes(detections.scaled(image.size, (page.width, page.height)), class_names)
    status = PageStatus.DETECTED if boxes else PageStatus.EMPTY
    return AnnotatedPage(page.number, page.canvas_id, page.image_name, page.width, page.height, status, boxes)
