"""The embeddings of documents on disk: one array for each document, backbone and transposition.

    <content>/images               the digests of the document's images, in the order of the rows
    <content>/<key>/none.npy       a complete array (n, d) float16, read through a memory map
    <content>/<key>/none.part      an incomplete array
    <content>/<key>/progress.json  the number of rows written to each incomplete array

Rows are written in order. A worker that resumes an incomplete array, or computes the same array at the same time,
writes the same values to the same positions. Rows that another document already has are copied.
"""

import io
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.storage import build_key, write_atomic

Rows = NDArray[np.float16]
IMAGES, PROGRESS = "images", "progress.json"


def build_content(digests: Iterable[str]) -> str:
    """Return the content of a document, see :mod:`app.storage`, from the digests of its images."""
    return build_key("\n".join(digests))


class EmbeddingStore:
    """The embeddings of all documents by one backbone.

    Args:
        root: Folder with one subfolder per content.
        identity: Text that identifies the backbone, its weights and its parameters.
    """

    def __init__(self, root: Path, identity: str) -> None:
        self.identity = identity
        self._root = root
        self._key = build_key(identity)

    def folder(self, content: str) -> Path:
        return self._root / content / self._key

    def find_missing(self, content: str, transpositions: Iterable[str]) -> list[str]:
        """Return the transpositions without a complete array for a content. This counts as a use for retention."""
        with suppress(FileNotFoundError):
            os.utime(self.folder(content))
        return [each for each in transpositions if not (self.folder(content) / f"{each}.npy").exists()]

    def open(self, content: str, transpositions: Iterable[str]) -> list[Rows]:
        """Return an array ``(n, d)`` for each transposition, as a memory map.

        Raises:
            FileNotFoundError: An array is missing or incomplete.
        """
        return [np.load(self.folder(content) / f"{each}.npy", mmap_mode="r") for each in transpositions]

    def find_rows(self, digests: Iterable[str], transpositions: Sequence[str]) -> dict[str, list[Rows]]:
        """Find stored rows of images, in any document. Return, by digest, one row per transposition."""
        wanted, found = set(digests), {}
        for folder in self._root.glob(f"*/{self._key}"):
            if not wanted:
                break
            arrays, count = _map_rows(folder, transpositions)
            for place, digest in enumerate(_load_digests(folder.parent)[:count]):
                if digest in wanted:
                    wanted.remove(digest)
                    found[digest] = [array[place] for array in arrays]
        return found

    def draft(self, content: str, digests: Sequence[str], transpositions: Sequence[str], dimension: int) -> "Draft":
        """Open the incomplete arrays of a document; create them if necessary."""
        folder = self.folder(content)
        images = folder.parent / IMAGES
        if not images.exists():
            write_atomic(images, "\n".join(digests).encode())
        folder.mkdir(parents=True, exist_ok=True)
        return Draft(folder, transpositions, (len(digests), dimension))


class Draft:
    """Incomplete arrays. The context manager closes their files.

    Attributes:
        done: Number of rows that all arrays have.
    """

    def __init__(self, folder: Path, transpositions: Sequence[str], shape: tuple[int, int]) -> None:
        self._folder = folder
        self._shape = shape
        self._row_bytes = shape[1] * np.dtype(np.float16).itemsize
        self._files = ExitStack()
        self._is_new = False
        self._parts = {each: self._open(folder / f"{each}.part") for each in transpositions}
        known = _load_progress(folder)
        self.done = min(known.get(each, 0) for each in transpositions)
        if self._is_new:  # the progress file describes earlier arrays, which are now complete
            self.flush(0)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._files.close()

    def _open(self, path: Path) -> tuple[int, int]:
        """Open a file at its final size. Return its descriptor and the offset of the first row."""
        head = _build_head(self._shape)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            self._is_new = True
        except FileExistsError:
            descriptor = os.open(path, os.O_RDWR)
        self._files.callback(os.close, descriptor)
        # Also in a file that exists: its disk may have been full when it was created.
        os.truncate(descriptor, len(head) + self._shape[0] * self._row_bytes)
        _write_whole(descriptor, head, 0)
        return descriptor, len(head)

    def write(self, start: int, rows: Sequence[Rows]) -> None:
        """Write rows from an index on: an array ``(k, d)`` for each transposition."""
        for (descriptor, head), values in zip(self._parts.values(), rows, strict=True):
            content = np.ascontiguousarray(values, np.float16).tobytes()
            _write_whole(descriptor, content, head + start * self._row_bytes)

    def flush(self, done: int) -> None:
        """Sync the files, then record the number of rows written."""
        for descriptor, _ in self._parts.values():
            os.fsync(descriptor)
        self.done = done
        known = _load_progress(self._folder) | dict.fromkeys(self._parts, done)
        write_atomic(self._folder / PROGRESS, json.dumps(known).encode())

    def finish(self) -> None:
        """Rename the complete arrays, which makes them the arrays of the document."""
        for transposition in self._parts:
            part = self._folder / f"{transposition}.part"
            with suppress(FileNotFoundError):  # another worker finished first, with the same values
                os.replace(part, part.with_suffix(".npy"))


def _write_whole(descriptor: int, content: bytes, offset: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _build_head(shape: tuple[int, int]) -> bytes:
    """Return the header of a ``.npy`` file of float16."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _load_digests(folder: Path) -> list[str]:
    try:
        return (folder / IMAGES).read_text().split("\n")
    except FileNotFoundError:
        return []


def _load_progress(folder: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads((folder / PROGRESS).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _map_rows(folder: Path, transpositions: Sequence[str]) -> tuple[list[Rows], int]:
    """Map the arrays in a folder. Return them with the number of rows that all of them have."""
    progress = _load_progress(folder)
    arrays, counts = [], []
    for name in transpositions:
        for path, count in ((folder / f"{name}.npy", None), (folder / f"{name}.part", progress.get(name, 0))):
            with suppress(FileNotFoundError, ValueError):
                arrays.append(np.load(path, mmap_mode="r"))
                counts.append(len(arrays[-1]) if count is None else count)
                break
    return arrays, min(counts, default=0) if len(arrays) == len(transpositions) else 0
