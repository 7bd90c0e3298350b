"""The cached images of the pages of a detection job as JPEG: whole, reduced, and cut to a box."""

import io
import re
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from app.errors import NotFound
from app.images.pixels import decode_picture
from app.storage import Storage, write_atomic

_JPEG_START = b"\xff\xd8\xff"
# Longer side of an image that is converted to JPEG, and of a thumbnail, in pixels.
_LONGEST, THUMBNAIL = 10_000, 400
# A scan may need 500 MB while it is decoded, so each process decodes one at a time.
_DECODING = threading.Lock()

Box = tuple[int, int, int, int]


def load_page_image(storage: Storage, job_id: str, source: str, number: str) -> bytes:
    """Return the cached image of a page as JPEG. It may be smaller than the full-size image.

    Args:
        storage: Storage with the cached images.
        job_id: ID of a detection job.
        source: Origin of the document of the job, which names the folder of its images.
        number: Number of the page, from 1.

    Raises:
        NotFound: The job has no such page, or its image is not cached.
    """
    path = _find(storage, job_id, source, number)
    try:
        data = path.read_bytes()
        return data if data.startswith(_JPEG_START) else _format(_decode(path, _LONGEST))
    except (OSError, SyntaxError, ValueError) as error:  # removed, or damaged
        raise _explain_missing(job_id, number) from error


def load_thumbnail(storage: Storage, job_id: str, source: str, number: str) -> bytes:
    """Return the image of a page with a longer side of at most ``THUMBNAIL`` pixels. It stays in the job's folder.

    Raises:
        NotFound: The job has no such page, or its image is not cached.
    """
    path = _find(storage, job_id, source, number)
    thumbnail = storage.job(job_id).thumbnail(int(number))
    try:
        if not thumbnail.exists() or thumbnail.stat().st_mtime < path.stat().st_mtime:
            write_atomic(thumbnail, _format(_decode(path, THUMBNAIL), quality=80))
        return thumbnail.read_bytes()
    except (OSError, SyntaxError, ValueError) as error:
        raise _explain_missing(job_id, number) from error


def load_crop(storage: Storage, job_id: str, source: str, number: str, box: Box, size: tuple[int, int]) -> bytes:
    """Return a box of a page, from its cached image.

    Args:
        storage, job_id, source, number: As for :func:`load_page_image`.
        box: Box ``xywh`` in pixels of the full-size image.
        size: (width, height) of the full-size image.

    Raises:
        NotFound: The job has no such page, or its image is not cached.
    """
    path = _find(storage, job_id, source, number)
    try:
        picture = _decode(path, _LONGEST)
    except (OSError, SyntaxError, ValueError) as error:
        raise _explain_missing(job_id, number) from error
    across, down = picture.width / size[0], picture.height / size[1]
    left, top, width, height = box
    corners = left * across, top * down, (left + width) * across, (top + height) * down
    return _format(picture.crop((round(corners[0]), round(corners[1]), round(corners[2]) + 1, round(corners[3]) + 1)))


def _find(storage: Storage, job_id: str, source: str, number: str) -> Path:
    """Return the path of the cached image of a page."""
    folder = storage.job(job_id)
    if not re.fullmatch("[1-9][0-9]{0,6}", number, re.ASCII) or not folder.has("pages", int(number)):
        raise _explain_missing(job_id, number)
    record: dict[str, Any] = next(folder.load("pages", [int(number)]))
    path = storage.images(source) / (record["file"] or "")
    if not record["file"] or not path.exists():
        raise _explain_missing(job_id, number)
    return path


def _explain_missing(job_id: str, number: str) -> NotFound:
    return NotFound(f"Job {job_id} has no cached image of page {number[:20]!r}: it has failed, or was removed.")


def _decode(path: Path, longest: int) -> Image.Image:
    """Return an image in RGB, reduced to a longer side."""
    with _DECODING, path.open("rb") as file:
        picture, _ = decode_picture(file, longest)
        picture.thumbnail((longest, longest))
    return picture


def _format(picture: Image.Image, quality: int = 90) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return content.getvalue()
