"""Receive large uploads. They take longer than other requests, so the number of concurrent ones is limited."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout
from flask import request

from app.errors import Busy
from app.server.request_limits import set_request_deadline
from app.services import current_services
from app.storage import check_space, translate_disk_full

# Largest number of concurrent uploads, over all processes.
MOST_UPLOADS = 4


@contextmanager
def receive_upload() -> Iterator[None]:
    """Set the size limit and the deadline of an upload for the current request.

    At this point, the API key has been checked and none of the body has been read.

    Raises:
        Busy: Too many uploads are in progress.
    """
    limits, parts = current_services.datasets.limits, current_services.datasets.parts
    parts.mkdir(parents=True, exist_ok=True)
    with _acquire_upload_lock(parts), translate_disk_full():
        request.max_content_length = limits.upload_bytes
        check_space(parts, min(request.content_length or 0, request.max_content_length))
        request.spool = parts  # type: ignore[attr-defined]
        set_request_deadline(limits.seconds, idle_timeout=current_services.settings.request_seconds)
        yield


@contextmanager
def receive_file() -> Iterator[None]:
    """Receive a form that may contain a file. A body that is larger than others may be counts as an upload.

    Raises:
        Busy: It is an upload, and too many uploads are in progress.
    """
    usual, length = request.max_content_length or 0, request.content_length
    if request.mimetype == "multipart/form-data" and (length is None or length > usual):
        with receive_upload():
            yield
    else:
        with translate_disk_full():
            yield


def _acquire_upload_lock(folder: Path) -> AcquireReturnProxy:
    """Acquire one of the upload locks, which all processes of the API share."""
    for number in range(MOST_UPLOADS):
        with suppress(Timeout):
            return FileLock(folder / f"lock-{number}").acquire(blocking=False)
    raise Busy(f"{MOST_UPLOADS} uploads are in progress already: try again in a minute.")
