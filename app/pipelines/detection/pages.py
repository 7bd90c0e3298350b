"""The pages of a detection job: their records in the job's folder, and the pixels of fetched pages."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.detection.annotations import AnnotatedPage, PageStatus, parse_page
from app.images.pixels import UNREADABLE, decode_image
from app.pipelines.image_cache import evict_damaged
from app.storage import JobFolder, RecordFile, write_atomic


@dataclass(frozen=True)
class FetchedPage:
    """The outcome of fetching the image of a canvas.

    Attributes:
        number: 1-based position of the canvas in the manifest.
        canvas_id: ID of the canvas, or "".
        image_name: Name of the image in the annotation file.
        file: File name in the image cache of the manifest; None if the fetch failed.
        width, height: Size of the full-size image; None if the fetch failed.
        reason: Reason of the failure, or "".
        retries: Number of retries of the job at the time of this outcome.
        note: Sentence for the user about the size of the image, or "".
    """

    number: int
    canvas_id: str
    image_name: str
    file: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str = ""
    retries: int = 0
    note: str = ""

    def as_failed(self, reason: str) -> AnnotatedPage:
        return AnnotatedPage(
            self.number, self.canvas_id, self.image_name, self.width, self.height, PageStatus.FAILED, reason=reason
        )


@dataclass(frozen=True)
class Coverage:
    """The number of canvases by outcome.

    Attributes:
        detected: Pages with illustrations.
        empty: Pages without illustrations.
        failed: Canvases without a detection, as (canvas number, reason).
        notes: Canvases with a note on the size of their image, as (canvas number, note).
    """

    detected: int = 0
    empty: int = 0
    failed: tuple[tuple[int, str], ...] = ()
    notes: tuple[tuple[int, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        failed = [{"canvas_number": number, "reason": reason} for number, reason in self.failed]
        notes = [{"canvas_number": number, "note": note} for number, note in self.notes]
        return {"detected": self.detected, "empty": self.empty, "failed": failed} | ({"notes": notes} if notes else {})


def save_fetched(folder: JobFolder, pages: Iterable[FetchedPage]) -> None:
    folder.pages.save({page.number: asdict(page) for page in pages})


def load_fetched(folder: JobFolder) -> list[FetchedPage]:
    return [FetchedPage(**record) for record in folder.pages.load().values()]


def save_annotated(records: RecordFile[int], pages: Iterable[AnnotatedPage]) -> None:
    """Save the records of detected pages. Failed pages get none, so they are detected again."""
    records.save({page.number: asdict(page) for page in pages if page.status is not PageStatus.FAILED})


def load_annotated(folder: JobFolder, fetched: list[FetchedPage]) -> list[AnnotatedPage]:
    """Return the detected pages and the pages that could not be fetched, in the order of the canvases."""
    detected = [parse_page(record) for record in folder.detections.load().values()]
    failed = [page.as_failed(page.reason) for page in fetched if page.file is None]
    return sorted([*detected, *failed], key=lambda page: page.number)


def discard_stale_detections(folder: JobFolder, digest: str) -> None:
    """Discard detections by other weights, so that all pages of a result are detected by the same weights.

    A resumed job uses weights of the same name, but the file may have been replaced.

    Args:
        folder: Folder of the job.
        digest: SHA-256 of the current weights.
    """
    with suppress(FileNotFoundError):
        if _load_digest(folder) == digest:
            return
        folder.detections.remove()
    write_atomic(folder.detected_by, json.dumps({"sha256": digest}).encode(), sync=False)


def _load_digest(folder: JobFolder) -> str | None:
    """Return the digest of the weights of the detections; None if a power cut has emptied the file."""
    try:
        return str(json.loads(folder.detected_by.read_bytes())["sha256"])
    except ValueError:
        return None


def adopt_ahead(folder: JobFolder, fetched: Iterable[FetchedPage], digest: str) -> list[AnnotatedPage]:
    """Move the records of detection ahead to the detections of the job; return their pages.

    A page that was fetched again with another size since then is not adopted.
    """
    sizes = {page.number: (page.width, page.height, page.note) for page in fetched}
    detected = folder.detections.list_keys()
    pages = [
        page
        for page in map(parse_page, folder.ahead(digest).load().values())
        if page.number not in detected and sizes.get(page.number) == (page.width, page.height, page.note)
    ]
    save_annotated(folder.detections, pages)
    folder.ahead(digest).remove()
    return pages


def count_coverage(pages: Iterable[AnnotatedPage]) -> Coverage:
    """Count the pages by status, and list the failed ones and the notes."""
    pages = list(pages)
    count = [page.status for page in pages].count
    failed = tuple((page.number, page.reason) for page in pages if page.status is PageStatus.FAILED)
    notes = tuple((page.number, page.note) for page in pages if page.note)
    return Coverage(count(PageStatus.DETECTED), count(PageStatus.EMPTY), failed, notes)


@dataclass(frozen=True)
class PageImage:
    """A page with its pixels.

    Attributes:
        page: Record of the fetched page.
        pixels: RGB ``(height, width, 3)`` uint8; None if the file is no longer in the cache.
        size: Exact (width, height) of the image in these pixels, see :func:`~app.images.pixels.decode_image`.
    """

    page: FetchedPage
    pixels: NDArray[np.uint8] | None = None
    size: tuple[float, float] = (0.0, 0.0)


def decode_page(images: Path, page: FetchedPage, least: int | None) -> PageImage:
    """Decode the image of a page. If the file is missing or damaged, return no pixels; a damaged file is removed.

    Args:
        images: Folder of the cached images.
        page: Record of the fetched page.
        least: Required length of the longer side, in pixels; None to decode every pixel.
    """
    path = images / str(page.file)
    try:
        with path.open("rb") as file:
            return PageImage(page, *decode_image(file, least))
    except FileNotFoundError:  # it may be fetched again at this moment
        return PageImage(page)
    except UNREADABLE as error:
        evict_damaged(path, error)
        return PageImage(page)
