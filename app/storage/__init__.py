"""Where things lie on disk, under what names, and how they are written: whole or not at all.

    files       names for content from outside, atomic writes, free space, locks of folders
    job_folder  ``JobFolder``: the files of a job

``Storage``, here, is the data folder, and how long its files are kept:

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
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from app.storage.files import (
    build_key,
    check_space,
    lock_folder,
    name_scores,
    open_atomic,
    translate_disk_full,
    write_atomic,
)
from app.storage.job_folder import JobFolder

__all__ = [
    "JobFolder",
    "Storage",
    "build_key",
    "check_space",
    "lock_folder",
    "name_scores",
    "open_atomic",
    "translate_disk_full",
    "write_atomic",
]


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

    def remove_old_trainings(self, days: float, wanted: Collection[str] = ()) -> int:
        """Remove pages and checkpoints of trainings that have not gone on for some days, and return how many jobs'.

        Args:
            days: Since it last did. Tried again later, it starts anew.
            wanted: Ids of jobs that will go on.
        """
        limit = time.time() - days * 86400
        found = [path.parent for name in ("dataset", ".part-*") for path in (self.root / "jobs").glob(f"*/{name}")]
        old = [
            folder
            for folder in {*found}
            if folder.name not in wanted and JobFolder(folder).last_training_activity < limit
        ]
        for folder in old:
            JobFolder(folder).forget_training()
        return len(old)

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
