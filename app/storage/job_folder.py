"""The files in the folder of a job; :mod:`app.storage` lists them."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from app.storage.record_file import RecordFile


class JobFolder:
    """The files of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def listing(self) -> Path:
        """The pages of a document that is no manifest."""
        return self.path / "listing.json"

    @property
    def source(self) -> Path:
        """The zip file or the PDF with the pages, or a file that is not recognised yet."""
        return self.path / "source.file"

    @property
    def pages(self) -> RecordFile[int]:
        """The outcome of fetching each canvas."""
        return RecordFile(self.path / "pages.jsonl", sync=True)

    @property
    def detections(self) -> RecordFile[int]:
        """The detections on each canvas. Missing ones are made again from the cached images."""
        return RecordFile(self.path / "detections.jsonl", sync=False)

    def ahead(self, digest: str) -> RecordFile[int]:
        """The detections that :mod:`~app.pipelines.detection.ahead` makes with the weights of a digest."""
        return RecordFile(self.path / f"ahead-{digest[:16]}.jsonl", sync=False)

    @property
    def corrections(self) -> RecordFile[int]:
        """The boxes that a person has drawn on a page."""
        return RecordFile(self.path / "corrections.jsonl", sync=True)

    @property
    def detected_by(self) -> Path:
        return self.path / "detected-by.json"

    @property
    def ahead_marker(self) -> Path:
        return self.path / "ahead-marker"

    @property
    def annotations(self) -> Path:
        return self.path / "annotations.txt"

    @property
    def annotations_json(self) -> Path:
        return self.path / "annotations.json"

    def thumbnail(self, number: int) -> Path:
        """Return the path of the reduced image of a page."""
        return self.path / "thumbnails" / f"{number:04d}.jpg"

    @property
    def query(self) -> Path:
        """The image of a search."""
        return self.path / "query.image"

    @property
    def query_size(self) -> Path:
        """The (width, height) of the full-size image of a search, unless the image is an upload."""
        return self.path / "query.json"

    @property
    def matches(self) -> Path:
        """The result of a search."""
        return self.path / "matches.json"

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

    @property
    def last_training_activity(self) -> float:
        """Time of the last checkpoint, or of the last change of the job folder."""
        there = [folder for folder in (self.path, self.training / "weights") if folder.exists()]
        return max((folder.stat().st_mtime for folder in there), default=0.0)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def forget_training(self) -> None:
        """Remove the files that are needed only to resume a training or an evaluation, and incomplete files.

        Each folder is renamed before it is removed, so that no incomplete folder stays under its name. Checkpoints are
        removed before their pages, because a retry may copy other pages.
        """
        for folder in (self.training, self.dataset):
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, tempfile.mkdtemp(dir=self.path, prefix=".part-"))
        for part in self.path.glob(".part-*"):
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)

    def image_outcomes(self, number: int) -> RecordFile[str]:
        """Return the outcomes of fetching the images of a document, by name. Missing ones are fetched again."""
        return RecordFile(self.document(number, ".jsonl"), sync=False)

    def document(self, number: int, suffix: str) -> Path:
        """Return the path of a file about a document; ``suffix`` is ``.json``, ``.jsonl`` or ``.compared``."""
        return self.path / "documents" / f"{number:04d}{suffix}"

    def document_folder(self, number: int) -> "JobFolder":
        """Return the folder of the pages of a document, with the files that the folder of a detection job has."""
        return JobFolder(self.path / "documents" / f"{number:04d}.pages")

    def scores(self, first: int, second: int, name: str) -> Path:
        """Return the path of the scores of two documents; ``name`` is from :func:`~app.storage.files.name_scores`."""
        return self.path / "scores" / f"{first:04d}-{second:04d}-{name}.scores"

    def verified(self, first: int, second: int, name: str) -> Path:
        """Return the path of the verified pairs of images of two documents; ``name`` is as in :meth:`scores`."""
        return self.scores(first, second, name).with_suffix(".verified")

    @property
    def groups(self) -> Path:
        return self.path / "groups.json"

    def forget_document(self, number: int) -> None:
        """Remove the records of a document, the scores of its pairs, and the groups."""
        name = f"{number:04d}"
        found = [
            self.path.glob("groups.json"),
            self.path.glob(f"documents/{name}.*"),
            self.path.glob(f"scores/{name}-*"),
            self.path.glob(f"scores/*-{name}-*"),
        ]
        for path in {path for paths in found for path in paths}:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
