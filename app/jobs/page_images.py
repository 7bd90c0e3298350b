"""The cached image of a page of a detection job, as a JPEG file."""

import io
import re
import threading
from typing import Any

from app.errors import NotFound
from app.images.pixels import decode_picture
from app.storage import Storage

_JPEG_START = b"\xff\xd8\xff"
# Longer side of an image that is converted to JPEG, in pixels.
_LONGEST = 10_000
# A scan may need 500 MB while it is decoded, so each process decodes one at a time.
_DECODING = threading.Lock()


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
    missing = NotFound(f"Job {job_id} has no cached image of page {number[:20]!r}: it has failed, or was removed.")
    folder = storage.job(job_id)
    if not re.fullmatch("[1-9][0-9]{0,6}", number, re.ASCII) or not folder.has("pages", int(number)):
        raise missing
    record: dict[str, Any] = next(folder.load("pages", [int(number)]))
    if not record["file"]:
        raise missing
    try:
        data = (storage.images(source) / record["file"]).read_bytes()
        return data if data.startswith(_JPEG_START) else _convert(data)
    except (OSError, SyntaxError, ValueError) as error:  # removed, or damaged
        raise missing from error


def _convert(data: bytes) -> bytes:
    content = io.BytesIO()
    with _DECODING:
        picture, _ = decode_picture(io.BytesIO(data))
        picture.thumbnail((_LONGEST, _LONGEST))
        picture.save(content, "JPEG", quality=90)
    return content.getvalue()
