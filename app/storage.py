"""Where things lie on disk, under what names, and how they are written: whole or not at all.

    data/images/<key of the manifest URL>/<key>.image, <key>.json    an image and its full size, shared by jobs
    data/jobs/<job id>/manifest.json                                 the manifest as it was fetched
    data/jobs/<job id>/pages/0001.json                               what came of fetching a canvas
    data/jobs/<job id>/detections/0001.json                          what was detected on it
    data/jobs/<job id>/annotations.txt, annotations.json             the result

A key is a digest, never text from outside: no manifest can choose a path, and no two share a folder.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO


def build_key(text: str) -> str:
    """Return a name for a file that stands for a text (a URL, say) and for no other."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


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


class JobFolder:
    """The files of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def annotations(self) -> Path:
        return self.path / "annotations.txt"

    @property
    def annotations_json(self) -> Path:
        return self.path / "annotations.json"

    def save(self, kind: str, number: int, record: Mapping[str, Any]) -> None:
        """Keep a record of a canvas; ``kind`` is ``pages`` or ``detections``."""
        write_atomic(self._record(kind, number), json.dumps(record, ensure_ascii=False).encode())

    def has(self, kind: str, number: int) -> bool:
        """Tell whether there is a record of a canvas."""
        return self._record(kind, number).exists()

    def load(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a kind, in the order of the canvases."""
        for path in sorted((self.path / kind).glob("*.json"), key=lambda path: int(path.stem)):
            yield json.loads(path.read_bytes())

    def _record(self, kind: str, number: int) -> Path:
        return self.path / kind / f"{number:04d}.json"


class Storage:
    """The data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def job(self, job_id: str) -> JobFolder:
        return JobFolder(self.root / "jobs" / job_id)

    def images(self, manifest_url: str) -> Path:
        """Return the folder of a manifest's cached images."""
        return self.root / "images" / build_key(manifest_url)

    def remove_old_images(self, days: float, wanted: Iterable[str] = ()) -> int:
        """Remove the images that nobody has used for some days, and return how many.

        Args:
            days: Since the last job that used an image.
            wanted: Addresses of manifests whose images are kept whatever their age: jobs work on them.
        """
        kept = {self.images(url) for url in wanted}
        limit = time.time() - days * 86400
        folders = [folder for folder in (self.root / "images").glob("*") if folder not in kept]
        return sum(_remove_unused(folder, limit) for folder in folders)


def _remove_unused(folder: Path, limit: float) -> int:
    """Remove the files of a folder that are older than a time, the folder too when it is empty."""
    removed = 0
    # The record goes before its image: an image without a record is not whole, and nobody takes it.
    for path in sorted(folder.glob("*"), key=lambda path: path.suffix != ".json"):
        with contextlib.suppress(FileNotFoundError):
            if _last_use(path) < limit:
                path.unlink()
                removed += path.suffix == ".image"
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()
    return removed


def _last_use(path: Path) -> float:
    """Return when an image was last used: the time of its record, which is touched at each use."""
    record = path.with_suffix(".json")
    return (record if record.exists() else path).stat().st_mtime
