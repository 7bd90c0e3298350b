"""Detection ahead: detect pages of a job that still downloads, while no job waits for the ``gpu`` worker.

    io worker   saves records of fetched pages     ──▶  a message to the gpu queue, if that is empty
    gpu worker  a step: one batch for each stream  ──▶  records in ahead-<digest>.jsonl, and another message
    run stage   moves these records to detections.jsonl, and detects the remaining pages

A step changes no row. The download keeps its lease, and only the stage ``run`` counts the pages as detected.

====================================  ===============================================================
event                                 effect
====================================  ===============================================================
a job waits for the stage ``run``     there are no further steps until it is done
the job is cancelled or fails         the job gets no further step
another worker begins a step          the marker in the job's folder excludes this worker
the process dies, or the step fails   the marker stays, and the job gets no further step
the weights are replaced              records of other weights (``digest``) are not used
a page is fetched again               its record is used only if the size of the page is the same
====================================  ===============================================================
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from app.detection.annotations import PageStatus
from app.jobs.requests import DetectionRequest
from app.pipelines.detection.pages import load_fetched, save_annotated
from app.pipelines.detection.work import detect_pages
from app.storage import JobFolder

if TYPE_CHECKING:
    from app.detection.detector import Detector


@contextmanager
def claim(folder: JobFolder) -> Iterator[bool]:
    """Claim a job for one step; yield False if it is claimed already, or has no pages yet."""
    try:
        folder.ahead_marker.open("x").close()
    except (FileExistsError, FileNotFoundError):
        yield False
        return
    yield True
    folder.ahead_marker.unlink(missing_ok=True)


def detect(request: DetectionRequest, images: Path, folder: JobFolder, detector: "Detector") -> bool:
    """Detect a batch of pages for each stream of the detector; return whether there were any.

    Args:
        request: Detection request.
        images: Folder of the manifest's cached images.
        folder: Folder of the claimed job.
        detector: Loaded detector.
    """
    records = folder.ahead(detector.digest)
    detected = folder.detections.list_keys() | records.list_keys()
    waiting = (page for page in load_fetched(folder) if page.file and page.number not in detected)
    some = list(islice(waiting, detector.streams * detector.config.batch_size))
    has_detected = False
    for batch in detect_pages(request, images, detector, some, detector.streams):
        save_annotated(records, batch)
        has_detected |= any(page.status is not PageStatus.FAILED for page in batch)
    return has_detected
