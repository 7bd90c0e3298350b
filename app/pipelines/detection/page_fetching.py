"""Fetch the images of the pages of a detection job in several threads, and record each outcome."""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path

from app.detection.annotations import PageStatus
from app.errors import FetchError
from app.iiif.canvas import Canvas
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest
from app.iiif.stated_sizes import StatedSizes
from app.net.addresses import read_host
from app.pipelines.detection.pages import (
    Coverage,
    FetchedPage,
    count_coverage,
    load_annotated,
    load_fetched,
    save_fetched,
)
from app.pipelines.image_cache import CircuitBreaker, ImageCache, evict
from app.storage import JobFolder

# Interval at which a download reports its progress, and stops if the job was cancelled. The first intervals are
# shorter, so that the detection of cached pages begins at once.
REPORT_SECONDS = 0.5
FIRST_REPORT_SECONDS = 0.05
LONGEST_REASON = 500
# Threads that read pages from a file on this machine.
LOCAL_THREADS = 2

Report = Callable[[int, int, Coverage | None], None]
Count = Callable[[PageStatus, int], None]


def fetch_pages(
    cache: ImageCache,
    manifest: Manifest,
    folder: JobFolder,
    fetcher: Fetcher,
    retries: int,
    report: Report,
    count: Count,
) -> list[FetchedPage]:
    """Fetch the image of each canvas that has no settled outcome in the job's folder; return all outcomes.

    Args:
        cache: Cache of the images.
        manifest: Manifest whose canvases are fetched.
        folder: Folder of the job.
        fetcher: HTTP client.
        retries: Number of retries of the job so far.
        report: Progress callback, called at least twice a second.
        count: Called with ``FAILED`` and the number of pages that could not be fetched, before each report.
    """
    annotated = load_annotated(folder, [])
    detected = {page.number for page in annotated}
    pages = {page.number: page for page in load_fetched(folder) if _is_settled(page, cache, detected, retries)}
    seen = count_coverage(annotated)
    breakers: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)  # by host
    missing = [canvas for canvas in manifest.canvases if canvas.number not in pages]
    sizes = StatedSizes((canvas.image for canvas in missing if canvas.image), cache.fetch_info)
    threads = LOCAL_THREADS if cache.is_local else _count_threads(fetcher, missing)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="fetch")

    def submit(canvases: Iterable[Canvas]) -> set[Future[FetchedPage]]:
        # Each task runs in a copy of the context of this thread, so its log lines name the same job.
        found = ((canvas, breakers[read_host(canvas.image.base) if canvas.image else ""]) for canvas in canvases)
        fetch = partial(_fetch_page, cache, sizes, manifest, retries)
        return {executor.submit(copy_context().run, fetch, canvas, breaker) for canvas, breaker in found}

    def tell() -> None:
        report(len(pages), len(manifest.canvases), replace(seen, failed=_list_failures(pages.values())))

    try:
        if retries and missing:  # the row has the coverage of the run before
            tell()
        waiting, interval = submit(missing), FIRST_REPORT_SECONDS
        suspects: list[Canvas] = []  # canvases whose stated size proved wrong after it was used
        while True:
            finished = _take_finished(waiting, interval)
            save_fetched(folder, finished)
            pages |= {page.number: page for page in finished}
            if failed := sum(page.file is None for page in finished):
                count(PageStatus.FAILED, failed)
            doubtful = {*sizes.list_doubtful()}
            suspects += [canvas for canvas in missing if canvas.image in doubtful]
            again = [canvas for canvas in suspects if canvas.number in pages]  # the others are still being fetched
            suspects = [canvas for canvas in suspects if canvas.number not in pages]
            waiting |= submit(_evict(again, pages, cache.folder, folder))
            tell()  # even if no image has arrived: this raises if the job was cancelled
            interval = min(2 * interval, REPORT_SECONDS)
            if not waiting:
                break
    finally:
        # A cancelled job does not wait for a slow library.
        executor.shutdown(wait=False, cancel_futures=True)
    return [*pages.values()]


def _take_finished(waiting: set[Future[FetchedPage]], seconds: float) -> list[FetchedPage]:
    """Remove finished futures from ``waiting`` and return their results, after at most some seconds."""
    finished, _ = wait(waiting, timeout=seconds)
    waiting -= finished
    return [future.result() for future in finished]


def _is_settled(page: FetchedPage, cache: ImageCache, detected: Container[int], retries: int) -> bool:
    """Return whether a canvas needs no fetch: it is detected, its image is cached, or it failed in this try."""
    if page.file is None:
        return page.retries == retries
    return page.number in detected or cache.holds(page.file)


def _count_threads(fetcher: Fetcher, canvases: Iterable[Canvas]) -> int:
    """Return the number of download threads: the largest connection limit among the hosts of the images."""
    hosts = {read_host(canvas.image.base) for canvas in canvases if canvas.image}
    return max((fetcher.rules.find(host).connections for host in hosts), default=1)


def _evict(
    canvases: Iterable[Canvas], pages: Mapping[int, FetchedPage], images: Path, folder: JobFolder
) -> list[Canvas]:
    """Remove the images of canvases and their records. Return the canvases that had one, to be fetched again."""
    found = [canvas for canvas in canvases if pages[canvas.number].file]
    folder.pages.save({canvas.number: None for canvas in found})
    for canvas in found:
        evict(images / str(pages[canvas.number].file))
    return found


def _fetch_page(
    cache: ImageCache, sizes: StatedSizes, manifest: Manifest, retries: int, canvas: Canvas, breaker: CircuitBreaker
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
