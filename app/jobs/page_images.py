"""The cached images of the pages of a detection job as JPEG: whole, reduced, and cut to a box."""

import re
from pathlib import Path

from app.errors import NotFound
from app.images.pixels import UNREADABLE
from app.images.reduced import format_jpeg, load_reduced
from app.storage import Storage, write_atomic

_JPEG_START = b"\xff\xd8\xff"
# Longer side of an image that is converted to JPEG, and of a thumbnail, in pixels.
_LONGEST, THUMBNAIL = 10_000, 400

Box = tuple[int, int, int, int]


def load_page_image(storage: Storage, job_id: str, origin: str, number: str) -> bytes:
    """Return the cached image of a page as JPEG. It may be smaller than the full-size image.

    Args:
        storage: Storage with the cached images.
        job_id: ID of a detection job.
        origin: Origin of the document of the job, which names the folder of its images.
        number: Number of the page, from 1.

    Raises:
        NotFound: The job has no such page, or its image is not cached.
    """
    path = _find(storage, job_id, origin, number)
    try:
        data = path.read_bytes()
        return data if data.startswith(_JPEG_START) else format_jpeg(load_reduced(path, _LONGEST))
    except UNREADABLE as error:
        raise _explain_missing(job_id, number) from error


def load_thumbnail(storage: Storage, job_id: str, origin: str, number: str) -> bytes:
    """Return the image of a page with a longer side of at most ``THUMBNAIL`` pixels. It stays in the job's folder.

    Raises:
        NotFound: The job has no such page, or its image is not cached.
    """
    path = _find(storage, job_id, origin, number)
    thumbnail = storage.job(job_id).thumbnail(int(number))
    try:
        if not thumbnail.exists() or thumbnail.stat().st_mtime < path.stat().st_mtime:
            write_atomic(thumbnail, format_jpeg(load_reduced(path, THUMBNAIL), quality=80))
        return thumbnail.read_bytes()
    except UNREADABLE as error:
        raise _explain_missing(job_id, number) from error


def load_crop(storage: Storage, job_id: str, origin: str, number: str, box: Box, size: tuple[int, int]) -> bytes:
    """Return a box of a page, from its cached image.

    Args:
        storage, job_id, origin, number: As for :func:`load_page_image`.
        box: Box ``xywh`` in pixels of the full-size image.
        size: (width, height) of the full-size image.

    Raises:
        NotFound: The job has no such page, or its image is not cached.
    """
    path = _find(storage, job_id, origin, number)
    try:
        picture = load_reduced(path, _LONGEST)
    except UNREADABLE as error:
        raise _explain_missing(job_id, number) from error
    across, down = picture.width / size[0], picture.height / size[1]
    x, y, w, h = box
    left, top, right, bottom = round(x * across), round(y * down), round((x + w) * across), round((y + h) * down)
    return format_jpeg(picture.crop((left, top, right + 1, bottom + 1)))


def _find(storage: Storage, job_id: str, origin: str, number: str) -> Path:
    """Return the path of the cached image of a page."""
    folder = storage.job(job_id)
    is_number = re.fullmatch("[1-9][0-9]{0,6}", number, re.ASCII)
    record = folder.pages.find(int(number)) if is_number else None
    path = storage.images(origin) / record["file"] if record and record["file"] else None
    if path is None or not path.exists():
        raise _explain_missing(job_id, number)
    return path


def _explain_missing(job_id: str, number: str) -> NotFound:
    return NotFound(f"Job {job_id} has no cached image of page {number[:20]!r}: it has failed, or was removed.")
