"""Keys for text from outside, atomic writes, free space, and locks of folders."""

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
    """Return a unique file name for a text, such as a URL."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def name_scores(first: str, second: str) -> str:
    """Return a short key of the scores of two contents, for the name of a score file in a job's folder."""
    return build_key(f"{first} {second}")[:16]


def write_atomic(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file atomically: other processes see the complete file or none.

    Args:
        path: Path of the file.
        content: Content of the file.
        sync: Whether this also holds after a power cut. Otherwise the file may be empty then; its reader must expect
            this.
    """
    with open_atomic(path, sync=sync) as file:
        file.write(content)


@contextlib.contextmanager
def open_atomic(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file for an atomic write. It appears under its path when the block ends without an exception."""
    descriptor, temporary = _open_part(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _open_part(folder: Path) -> tuple[int, str]:
    """Open a temporary file in a folder that may not exist, or that retention may remove at the same time."""
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            return tempfile.mkstemp(dir=folder, prefix=".part-")
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
    raise FileNotFoundError(f"{folder} cannot be created.")


def check_space(folder: Path, needed: int) -> None:
    """Check the free space before a large write, because jobs and the database need the same disk.

    Args:
        folder: Folder on the disk to check.
        needed: Number of bytes to write.

    Raises:
        NoSpace: The write would leave less than ``SPARE_BYTES`` free.
    """
    if needed + SPARE_BYTES > shutil.disk_usage(folder).free:
        raise NoSpace(
            f"There is no space left on the server's disk for {needed / 1e6:.0f} MB: free some space and try again."
        )


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that the disk, or the quota of its user, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def translate_disk_full() -> Iterator[None]:
    """Translate the ``OSError`` of a full disk.

    Raises:
        NoSpace: The disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise NoSpace(
            "There is no space left on the server's disk: free some space and send the request again."
        ) from error


def lock_folder(folder: Path) -> FileLock:
    """Return the lock of a folder, which excludes other threads and processes. It is released if the process ends."""
    return FileLock(folder / ".lock")


def link(source: Path | str, target: Path | str) -> None:
    """Hard-link a file; copy it where links are not possible. An existing target is kept."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if Path(target).exists():
        return
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        write_atomic(Path(target), Path(source).read_bytes())
