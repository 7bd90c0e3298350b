"""The files of the service: paths, atomic writes and retention.

    files        keys, atomic writes, free space, locks of folders
    job_folder   ``JobFolder``: the files of a job
    record_file  ``RecordFile``: records of canvases or images, one a line
    archives     open zip files from outside, which may be malicious

``Storage``, in this module, is the data folder:

    data/images/<key of the origin>/<key>.image, <key>.json    a cached image and its full size, shared by jobs
    data/jobs/<job id>/manifest.json                                 the manifest as it was fetched
    data/jobs/<job id>/listing.json, source.file                     the pages of another source; its zip file or PDF
    data/jobs/<job id>/pages.jsonl                                   the outcome of fetching each canvas
    data/jobs/<job id>/detections.jsonl                              the detections on each canvas
    data/jobs/<job id>/detected-by.json                              the digest of the weights of these detections
    data/jobs/<job id>/ahead-<digest>.jsonl, ahead-marker            detections made during the download
    data/jobs/<job id>/thumbnails/0001.jpg                           the reduced images of pages, after a request
    data/jobs/<job id>/annotations.txt, annotations.json             the result
    data/jobs/<job id>/corrections.jsonl                             the boxes that a person has drawn on a page
    data/jobs/<job id>/documents/0001.json, .jsonl                   the images of a document, and their fetch outcomes
    data/jobs/<job id>/documents/0001.pages/                         its listing.json, source.file or manifest.json
    data/jobs/<job id>/documents/0001.compared                       the compared images, in the order of the scores
    data/jobs/<job id>/scores/0001-0002-<key>.scores                 the scores of a pair: a hard link into data/scores
    data/jobs/<job id>/scores/0001-0002-<key>.verified               their verified pairs of images, likewise
    data/jobs/<job id>/groups.json                                   the groups of its images, after the first request
    data/jobs/<job id>/query.image, query.json, matches.json         the image of a search, its full size, the result
    data/jobs/<job id>/dataset/                                      the data set of a training or evaluation, a copy
    data/jobs/<job id>/training/weights/last.pt, best.pt             the checkpoints of a training
    data/jobs/<job id>/results/                                      metrics, curves and pictures of a training
    data/link-secret                                                 the secret that signs the links for viewers
    data/default-model.json                                          the weights for requests without a model
    data/runtimes.json                                               the results of the trials of runtimes
    data/embeddings/<content>/images                                 the digests of the images of a document
    data/embeddings/<content>/<key>/none.npy                         their embeddings by a backbone, not transposed
    data/embeddings/<content>/<key>/sketches.npy                     the same, shortened for searches
    data/scores/<content>/<content>-<key>.scores                     the best matches of two documents
    data/scores/<content>/<content>-<key>.verified                   the verified pairs of images of two documents
    data/features/<2 digits>/<digest>-<key>.npz                      the local features of an image file
    data/datasets/<app id>/<name>/<version>                          the pages and labels of a data set
    data/datasets/.parts                                             uploads that are being received and unpacked
    data/discarded/                                                  folders of removed jobs, until they are deleted

A *key* is a digest of text from outside, so a manifest cannot choose a path. A *content* is the key of the digests of a
document's images, so documents with the same pixels share embeddings and scores, whatever their names. The name of a
data set comes from outside; it contains only letters, digits, ``-``, ``_`` and ``.``.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from app.storage.files import (
    build_key,
    check_space,
    is_disk_full,
    link,
    lock_folder,
    name_scores,
    open_atomic,
    translate_disk_full,
    write_atomic,
)
from app.storage.job_folder import JobFolder
from app.storage.record_file import RecordFile

# Ends of the names of folders with images that are cut from the pages of an origin.
ILLUSTRATIONS, CROPS = " illustrations", " crops"

__all__ = [
    "CROPS",
    "ILLUSTRATIONS",
    "JobFolder",
    "RecordFile",
    "Storage",
    "build_key",
    "check_space",
    "is_disk_full",
    "link",
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

    def discard_job(self, job_id: str) -> None:
        """Move the folder of a job out of the way. This is fast; :meth:`delete_discarded` deletes it."""
        (self.root / "discarded").mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.job(job_id).path, tempfile.mkdtemp(dir=self.root / "discarded"))
        except OSError:  # there is none, or it is on another file system
            self.job(job_id).remove()

    def delete_discarded(self) -> None:
        """Delete the folders of removed jobs, also those that a crash has left."""
        for folder in (self.root / "discarded").glob("*"):
            shutil.rmtree(folder, ignore_errors=True)

    def images(self, origin: str) -> Path:
        """Return the folder with the cached images of a document.

        Args:
            origin: URL of the document, or a text that identifies an uploaded file.
        """
        return self.root / "images" / build_key(origin)

    @property
    def default_model(self) -> Path:
        """File with the name of the weights for requests without a model."""
        return self.root / "default-model.json"

    def load_link_secret(self) -> bytes:
        """Return the secret that signs the links for viewers. The first process that needs it creates it."""
        path = self.root / "link-secret"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            with lock_folder(self.root):
                if not path.exists():
                    write_atomic(path, secrets.token_bytes(32))
        return path.read_bytes()

    @property
    def trials(self) -> Path:
        """File with the results of the trials of runtimes."""
        return self.root / "runtimes.json"

    @property
    def embeddings(self) -> Path:
        return self.root / "embeddings"

    @property
    def scores(self) -> Path:
        return self.root / "scores"

    @property
    def features(self) -> Path:
        return self.root / "features"

    def cached_image(self, file: str) -> Path:
        """Return the path of a cached image; ``file`` is from ``ComparedDocument.files``."""
        return self.root / "images" / file

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    def forget_images(self, origin: str) -> None:
        """Remove the cached images of a document."""
        shutil.rmtree(self.images(origin), ignore_errors=True)

    def forget_content(self, content: str) -> None:
        """Remove the embeddings and the cached scores of a content, and the local features of its images.

        Another document that has some of these images computes their features again.
        """
        with contextlib.suppress(FileNotFoundError):
            for digest in (self.embeddings / content / "images").read_text().split("\n"):
                for path in self.features.glob(f"{digest[:2]}/{digest}-*"):
                    path.unlink(missing_ok=True)
        for folder in (self.embeddings / content, self.scores / content):
            shutil.rmtree(folder, ignore_errors=True)
        for path in self.scores.glob(f"*/{content}-*"):
            path.unlink(missing_ok=True)

    def remove_old_comparisons(self, days: float) -> int:
        """Remove embeddings, cached scores and local features that were not used for some days.

        Returns:
            Number of documents whose embeddings were removed completely.
        """
        limit = time.time() - days * 86400
        for folder in (*self.scores.glob("*"), *self.features.glob("*")):
            _remove_unused(folder, limit)
        return sum(_remove_embeddings(folder, limit) for folder in self.embeddings.glob("*"))

    def remove_old_trainings(self, days: float, wanted: Collection[str] = ()) -> int:
        """Remove pages and checkpoints of trainings that made no progress for some days, and incomplete files.

        A later retry of such a job starts from the beginning.

        Args:
            days: Days since the last progress.
            wanted: IDs of jobs that will resume; their files are kept.

        Returns:
            Number of jobs whose files were removed.
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

    def remove_old_sources(self, days: float, wanted: Collection[str] = ()) -> int:
        """Remove the zip files and PDFs of jobs that were not used for some days, and incomplete files.

        Their results and listings stay.

        Args:
            days: Days since the last use.
            wanted: IDs of unfinished jobs; their files are kept.

        Returns:
            Number of files removed.
        """
        limit, removed = time.time() - days * 86400, 0
        jobs = (folder for folder in (self.root / "jobs").glob("*") if folder.name not in wanted)
        names = [f"{place}{name}" for place in ("", "documents/*/") for name in ("source.file", ".part-*")]
        for path in (path for job in jobs for name in names for path in job.glob(name)):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
        return removed

    def remove_old_images(self, days: float, wanted: Iterable[str] = ()) -> int:
        """Remove cached images that were not used for some days.

        Args:
            days: Days since the last use.
            wanted: Origins of the documents of unfinished jobs; their images are kept.

        Returns:
            Number of images removed.
        """
        kept = {self.images(url) for url in wanted}
        limit = time.time() - days * 86400
        folders = [folder for folder in (self.root / "images").glob("*") if folder not in kept]
        return sum(_remove_unused(folder, limit) for folder in folders)


def _remove_embeddings(folder: Path, limit: float) -> bool:
    """Remove the embeddings of a document that were last used before a time; return whether all were removed."""
    with contextlib.suppress(FileNotFoundError):
        used = {path: path.stat().st_mtime for path in (folder, *folder.glob("*/"))}
        for path in (path for path in used if path != folder and used[path] < limit):
            shutil.rmtree(path, ignore_errors=True)
        if max(used.values()) >= limit:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _remove_unused(folder: Path, limit: float) -> int:
    """Remove the files of a folder that were last used before a time, and the folder if it is empty.

    Returns:
        Number of images removed.
    """
    removed = 0
    # Remove the record before its image: an image without a record counts as incomplete and is not used.
    for path in sorted(folder.glob("*"), key=lambda path: path.suffix != ".json"):
        with contextlib.suppress(FileNotFoundError):
            if _last_use(path) < limit:
                path.unlink()
                removed += path.suffix == ".image"
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()
    return removed


def _last_use(path: Path) -> float:
    """Return the time of the last use of an image: the modification time of its record, updated at each use."""
    record = path.with_suffix(".json")
    return (record if record.exists() else path).stat().st_mtime
