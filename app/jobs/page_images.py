"""The cached images of the pages of a detection job as JPEG: whole, reduced, and cut to a box."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from app.errors import NotFound
from app.images.pixels import UNREADABLE, format_jpeg, load_reduced
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
    """Return the image of a page with a longer side of at most ``THUMBNAIL`` pixels.

    It stays in the job's folder, also after the image was removed from the cache.

    Raises:
        NotFound: The job has no such page, or neither its image nor its thumbnail is stored.
    """
    path = _find(storage, job_id, origin, number)
    thumbnail = storage.job(job_id).thumbnail(int(number))
    try:
        if not thumbnail.exists() or (path.exists() and thumbnail.stat().st_mtime < path.stat().st_mtime):
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


def has_image(storage: Storage, job_id: str, origin: str, number: int) -> bool:
    """Return whether the image of a page is cached. This counts as a use for retention."""
    try:
        return _find(storage, job_id, origin, str(number)).exists()
    except NotFound:
        return False


def find_removed(storage: Storage, job_id: str, origin: str, numbers: Iterable[int]) -> set[int]:
    """Return which pages of a job have no image in the cache, although it was fetched."""
    images, fetched = storage.images(origin), storage.job(job_id).pages.load()
    files = {number: fetched[number]["file"] for number in numbers if number in fetched}
    return {number for number, file in files.items() if file and not (images / file).exists()}


def _find(storage: Storage, job_id: str, origin: str, number: str) -> Path:
    """Return the path of the cached image of a page, which may have been removed, and record its use."""
    folder = storage.job(job_id)
    is_number = re.fullmatch("[1-9][0-9]{0,6}", number, re.ASCII)
    record = folder.pages.find(int(number)) if is_number else None
    if not record or not record["file"]:
        raise _explain_missing(job_id, number)
    path = storage.images(origin) / record["file"]
    with suppress(OSError):
        os.utime(path.with_suffix(".json"))  # retention counts from the last use
    return path


def _explain_missing(job_id: str, number: str) -> NotFound:
    return NotFound(f"Job {job_id} has no cached image of page {number[:20]!r}: it has failed, or was removed.")
