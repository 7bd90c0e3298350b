"""The steps of a detection job, in this order:

    1. fetch_manifest  fetch the manifest, or another source of pages, and keep it in the job's folder
    2. download        fetch the image of every canvas into the image cache
    3. detect          run the detector batch by batch, then write the annotation files

In: a ``DetectionRequest``, a fetcher, a loaded detector. Out: ``annotations.txt`` and ``annotations.json``.

Each step skips what is already in the job's folder, so it can be repeated after any interruption. It calls:

    report(done, total, coverage)  with the progress; raises if the job was cancelled or moved to another worker.
                                   A coverage of None means "unchanged".
    count(status, pages)           for pages with an outcome: before a report of failed fetches, after each detected
                                   batch, or when pages that were detected ahead are taken over
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from app.detection.annotations import AnnotatedPage, PageStatus, format_boxes
from app.detection.boxes import Detections
from app.detection.parts import choose_grid
from app.errors import FetchError
from app.exports.annotation_files import describe_pages, format_text
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest
from app.jobs.requests import DetectionRequest
from app.pipelines.detection.cutting import PageCutter
from app.pipelines.detection.expansion import MAX_MANIFESTS
from app.pipelines.detection.page_fetching import REPORT_SECONDS, Count, Report, fetch_pages
from app.pipelines.detection.pages import (
    FetchedPage,
    PageImage,
    adopt_ahead,
    count_coverage,
    discard_stale_detections,
    load_annotated,
    load_fetched,
    save_annotated,
)
from app.pipelines.image_cache import ImageCache
from app.sources.documents import fetch_document
from app.sources.local_pages import LocalPages
from app.sources.recognition import Limits
from app.storage import JobFolder, write_atomic

if TYPE_CHECKING:
    from app.detection.detector import Detector


@dataclass(frozen=True)
class DownloadPlan:
    """How a job's images are fetched.

    Attributes:
        longest: Longer side to request, in pixels; None for the full size. If a page is cut, that of each part.
        max_canvases: Largest number of canvases of a manifest.
        retries: Number of retries of the job so far.
        may_evict: Function that returns whether a refresh may remove the cached images that this job did not fetch. It
            is called after the download: another job may use them.
        side: Longest side of a part, see :func:`~app.detection.parts.choose_grid`.
        max_file_bytes: Largest zip file or PDF, and largest unpacked size of a zip file.
    """

    longest: int | None = 800
    max_canvases: int = 5000
    retries: int = 0
    may_evict: Callable[[], bool] = lambda: True
    side: int | None = None
    max_file_bytes: int = 2_000_000_000


def fetch_manifest(
    request: DetectionRequest,
    folder: JobFolder,
    fetcher: Fetcher,
    plan: DownloadPlan,
    report: Report = lambda *_: None,
) -> Manifest | Collection:
    """Return the manifest, or the pages of another source as a manifest. A resumed job uses what it fetched first.

    Raises:
        FetchError: The document could not be fetched.
        ManifestError: The document cannot be used.
    """
    limits = Limits(plan.max_canvases, MAX_MANIFESTS, plan.max_file_bytes)
    reported = time.monotonic()

    def tick() -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            report(0, 0, None)

    return fetch_document(request.manifest_url, folder, fetcher, limits, name=request.file_name, tick=tick)


def download(
    request: DetectionRequest,
    manifest: Manifest,
    images: Path,
    folder: JobFolder,
    fetcher: Fetcher,
    plan: DownloadPlan,
    report: Report,
    count: Count = lambda *_: None,
) -> None:
    """Fetch the image of every canvas into the cache, and record each outcome in the job's folder.

    Args:
        request: Detection request; ``refresh`` fetches cached images again.
        manifest: Manifest whose canvases are fetched.
        images: Folder of the manifest's cached images.
        folder: Folder of the job.
        fetcher: HTTP client.
        plan: Sizes and limits of the download.
        report: Progress callback, called at least twice a second.
        count: Called with ``FAILED`` and the number of pages that could not be fetched, before each report.

    Raises:
        FetchError: No image at all could be fetched.
    """
    with LocalPages(folder) as local:
        cache = ImageCache(
            images,
            fetcher,
            plan.longest,
            cap_to_host_size=not request.image_size,
            refresh=request.refresh,
            choose_grid=partial(choose_grid, side=plan.side),
            local=local,
        )
        pages = fetch_pages(cache, manifest, folder, fetcher, plan.retries, report, count)
    files = {page.file for page in pages if page.file}
    if request.refresh and plan.may_evict():
        cache.evict_all_except(files)
    if not files:
        reason = min(pages, key=lambda page: page.number).reason
        raise FetchError(
            f"None of the {len(pages)} images of {manifest.url} could be fetched; the first error: {reason}"
        )


def detect(
    request: DetectionRequest,
    images: Path,
    folder: JobFolder,
    detector: "Detector",
    report: Report,
    count: Count = lambda *_: None,
) -> None:
    """Detect the illustrations on every fetched page, batch by batch, and write the annotation files.

    Args:
        request: Detection request. With ``image_size`` "full", the detector gets every pixel, as in the original
            extractorAPI.
        images: Folder of the manifest's cached images.
        folder: Folder of the job.
        detector: Loaded detector.
        report: Progress callback, called after every batch.
        count: Called with a status and the number of pages that got it, after every batch.
    """
    discard_stale_detections(folder, detector.digest)
    fetched = load_fetched(folder)
    _count_statuses(adopt_ahead(folder, fetched, detector.digest), count)
    annotated = {page.number: page for page in load_annotated(folder, fetched)}
    waiting = [page for page in fetched if page.number not in annotated]
    if annotated:
        report(len(annotated), len(fetched), count_coverage(annotated.values()))
    for batch in detect_pages(request, images, detector, waiting):
        save_annotated(folder.detections, batch)
        annotated |= {page.number: page for page in batch}
        _count_statuses(batch, count)
        report(len(annotated), len(fetched), count_coverage(annotated.values()))
    pages = [annotated[number] for number in sorted(annotated)]
    write_atomic(folder.annotations, format_text(pages).encode())
    write_atomic(folder.annotations_json, json.dumps(describe_pages(pages), ensure_ascii=False).encode())


def _count_statuses(pages: Iterable[AnnotatedPage], count: Count) -> None:
    for status, number in Counter(page.status for page in pages).items():
        count(status, number)


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
