"""Where things lie on disk, under what names, and how they are written: whole or not at all.

    data/images/<key of the manifest URL>/<key>.image, <key>.json    an image and its full size, shared by jobs
    data/jobs/<job id>/manifest.json                                 the manifest as it was fetched
    data/jobs/<job id>/pages/0001.json                               what came of fetching a canvas
    data/jobs/<job id>/detections/0001.json                          what was detected on it
    data/jobs/<job id>/detected-by.json                              by which weights
    data/jobs/<job id>/annotations.txt, annotations.json             the result
    data/jobs/<job id>/documents/0001.json, .jsonl                   the images of a document, and what came of each
    data/jobs/<job id>/documents/0001.compared                       those that were compared, in their order
    data/jobs/<job id>/scores/0001-0002-<key>.scores                 the result of a pair: a link to that of the cache
    data/jobs/<job id>/dataset/                                      the pages of a training or a test, as they were
    data/jobs/<job id>/training/weights/last.pt, best.pt             what a training has learned so far
    data/jobs/<job id>/results/                                      what came of it: figures, curves, pictures
    data/default-model.json                                          the weights chosen for requests that name none
    data/embeddings/<content>/images                                 the digests of the images of a document
    data/embeddings/<content>/<key>/none.npy                         their embeddings by a backbone, as they are
    data/scores/<content>/<content>-<key>.scores                     the best matches of two documents
    data/datasets/<app id>/<name>/<version>                          the pages and labels of a data set
    data/datasets/.parts                                             what is received and unpacked just now

A key is a digest, never text from outside: no manifest can choose a path, and no two share a folder. A content is the
key of the digests of a document's images: whoever compares the same pixels, under whatever names, finds what is there.
The name of a data set is from outside, and nothing but letters, digits, ``-``, ``_`` and ``.``.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

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
def full_disk_in_a_sentence() -> Iterator[None]:
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


class JobFolder:
    """The files of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def detected_by(self) -> Path:
        return self.path / "detected-by.json"

    @property
    def annotations(self) -> Path:
        return self.path / "annotations.txt"

    @property
    def annotations_json(self) -> Path:
        return self.path / "annotations.json"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

    @property
    def training(self) -> Path:
        return self.path / "training"

    @property
    def history(self) -> Path:
        return self.results / "history.jsonl"

    @property
    def weights(self) -> Path:
        return self.results / "weights.pt"

    @property
    def results(self) -> Path:
        return self.path / "results"

    def forget_training(self) -> None:
        """Remove what is needed only to go on with a training or a test."""
        for folder in (self.dataset, self.training):
            shutil.rmtree(folder, ignore_errors=True)

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

    def forget(self, kind: str) -> None:
        """Remove the records of a kind."""
        shutil.rmtree(self.path / kind, ignore_errors=True)

    def document(self, number: int, suffix: str) -> Path:
        """Return a file about a document: ``.json`` its list, ``.jsonl`` what came of it, ``.compared``."""
        return self.path / "documents" / f"{number:04d}{suffix}"

    def scores(self, first: int, second: int, name: str) -> Path:
        """Return the file with the scores of two documents, of the contents for which :func:`name_scores` stands."""
        return self.path / "scores" / f"{first:04d}-{second:04d}-{name}.scores"

    def forget_document(self, number: int) -> None:
        """Remove all that is known of a document, and what it was compared to."""
        name = f"{number:04d}"
        found = [
            self.path.glob(f"documents/{name}.*"),
            self.path.glob(f"scores/{name}-*"),
            self.path.glob(f"scores/*-{name}-*"),
        ]
        for path in {path for paths in found for path in paths}:
            path.unlink(missing_ok=True)

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

    @property
    def default_model(self) -> Path:
        """Return the file that says which weights were chosen for requests that name none."""
        return self.root / "default-model.json"

    @property
    def embeddings(self) -> Path:
        return self.root / "embeddings"

    @property
    def scores(self) -> Path:
        return self.root / "scores"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    def forget_images(self, source: str) -> None:
        """Remove the cached images of a manifest or a document."""
        shutil.rmtree(self.images(source), ignore_errors=True)

    def forget_content(self, content: str) -> None:
        """Remove the embeddings of some images, and the scores of a document that has just these."""
        for folder in (self.embeddings / content, self.scores / content):
            shutil.rmtree(folder, ignore_errors=True)
        for path in self.scores.glob(f"*/{content}-*"):
            path.unlink(missing_ok=True)

    def remove_old_comparisons(self, days: float) -> int:
        """Remove embeddings and cached scores that nobody has used for some days; return how many documents'."""
        limit = time.time() - days * 86400
        for folder in self.scores.glob("*"):
            _remove_unused(folder, limit)
        return sum(_remove_embeddings(folder, limit) for folder in self.embeddings.glob("*"))

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


def _remove_embeddings(folder: Path, limit: float) -> bool:
    """Remove the embeddings of a document that are older than a time; return whether nothing is left of it."""
    with contextlib.suppress(FileNotFoundError):
        used = {path: path.stat().st_mtime for path in (folder, *folder.glob("*/"))}
        for path in (path for path in used if path != folder and used[path] < limit):
            shutil.rmtree(path, ignore_errors=True)
        if max(used.values()) >= limit:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True


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
