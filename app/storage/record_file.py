"""Record files: JSON records with keys, one a line, in the order in which they were made.

    [12, {"number": 12, "file": "…", "width": 2400, "height": 3600}]
    [13, {"number": 13, "file": null, "reason": "The server answered 404."}]

The key is the number of a canvas or the name of an image. A line replaces earlier lines with its key, and one with
``null`` removes them. So a record is saved by appending a line: no file is created or rewritten, and a batch of records
needs one write.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", int, str)


class RecordFile(Generic[Key]):
    """A file of records. It may not exist yet.

    Several processes may read it and append to it at the same time.

    Args:
        path: Path of the file.
        sync: Whether a saved record also survives a power cut. Otherwise, the last records may be missing then.
    """

    def __init__(self, path: Path, *, sync: bool) -> None:
        self._path = path
        self._sync = sync

    def save(self, records: Mapping[Key, Mapping[str, Any] | None]) -> None:
        """Append some records, by key; None removes a record."""
        if not records:
            return
        lines = "".join(f"{json.dumps(pair, ensure_ascii=False)}\n" for pair in records.items())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            # Two machines that append to a file on NFS at the same time would overwrite each other.
            fcntl.lockf(file, fcntl.LOCK_EX)
            # A power cut or a full disk may have left an incomplete line, which would damage the next one.
            separator = b"" if _is_complete(file.fileno()) else b"\n"
            file.write(separator + lines.encode())
            file.flush()
            if self._sync:
                os.fsync(file.fileno())

    def load(self) -> dict[Key, dict[str, Any]]:
        """Return the records by key, in the order of the keys. Damaged lines are left out."""
        found = dict(self._parse(b"["))
        return {key: found[key] for key in sorted(found) if found[key] is not None}

    def find(self, key: Key) -> dict[str, Any] | None:
        """Return the record with a key, or None. Only the lines with this key are parsed."""
        return dict(self._parse(f"[{json.dumps(key, ensure_ascii=False)}, ".encode())).get(key)

    def list_keys(self) -> set[Key]:
        """Return the keys of all records."""
        return set(self.load())

    def remove(self) -> None:
        """Remove all records."""
        self._path.unlink(missing_ok=True)

    def _parse(self, prefix: bytes) -> Iterator[tuple[Key, Any]]:
        """Yield the keys and records of the undamaged lines that start with a prefix."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        for line in content.split(b"\n"):
            if line.startswith(prefix):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


def _is_complete(descriptor: int) -> bool:
    """Return whether an open file is empty or ends with a complete line."""
    size = os.fstat(descriptor).st_size
    return not size or os.pread(descriptor, 1, size - 1) == b"\n"
