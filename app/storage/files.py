"""Files: how they are named for what comes from outside, and written: whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from app.errors import NoSpace

SPARE_BYTES = 200_000_000


def build_key(text: str) -> str:
    """Return a name for a file that stands for a text (a URL, say) and for no other."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def name_scores(first: str, second: str) -> str:
    """Return a short name for the scores of two contents, beside others of the same two documents."""
    return build_key(f"{first} {second}")[:16]


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that other processes see whole or not at all, also after a crash."""
    with open_atomic(path) as file:
        file.write(content)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, which others see when all went well: whole or not at all, also after a crash."""
    descriptor, temporary = _open_part(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _open_part(folder: Path) -> tuple[int, str]:
    """Open a file that is still to get its name, in a folder that may be removed by retention at this very moment."""
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            return tempfile.mkstemp(dir=folder, prefix=".part-")
    raise FileNotFoundError(f"{folder} cannot be made.")


def check_space(folder: Path, needed: int) -> None:
    """Refuse what would fill the disk, on which jobs and the database want to write too.

    Raises:
        NoSpace: The disk of a folder has no room for so many bytes.
    """
    if needed + SPARE_BYTES > shutil.disk_usage(folder).free:
        raise NoSpace(f"There is no space left on the server's disk for {needed / 1e6:.0f} MB more: make room first.")


@contextlib.contextmanager
def translate_disk_full() -> Iterator[None]:
    """Say in a sentence that the disk is full.

    Raises:
        NoSpace: It is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpace("There is no space left on the server's disk: make room, and send it again.") from error


def lock_folder(folder: Path) -> FileLock:
    """Return the lock of a folder: one thread of one process holds it at a time, and it ends with the process."""
    return FileLock(folder / ".lock")
