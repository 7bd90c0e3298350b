"""The files in the folder of a job; :mod:`app.storage` lists them."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from app.storage.files import write_atomic


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
        """Remove the files that are needed only to resume a training or an evaluation, and incomplete copies of pages.

        Each folder is renamed before it is removed, so that no incomplete folder stays under its name. Checkpoints are
        removed before their pages, because a retry may copy other pages.
        """
        for folder in (self.training, self.dataset):
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, tempfile.mkdtemp(dir=self.path, prefix=".part-"))
        for part in self.path.glob(".part-*"):
            shutil.rmtree(part, ignore_errors=True)

    def save(self, kind: str, number: int, record: Mapping[str, Any]) -> None:
        """Write the record of a canvas; ``kind`` is the name of its folder."""
        content = json.dumps(record, ensure_ascii=False).encode()
        write_atomic(self._record(kind, number), content, sync=not _is_repeatable(kind))

    def has(self, kind: str, number: int) -> bool:
        """Return whether there is a record of a canvas."""
        return self._record(kind, number).exists()

    def list_numbers(self, kind: str) -> set[int]:
        """Return the numbers of the canvases that have a record of a kind."""
        return {int(path.stem) for path in (self.path / kind).glob("*.json")}

    def load(self, kind: str, numbers: Iterable[int] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the records of a kind, in the order of the canvases; all of them, or those of some canvases.

        Detections that a power cut has emptied or damaged are left out.
        """
        for number in sorted(self.list_numbers(kind) if numbers is None else numbers):
            try:
                record = json.loads(self._record(kind, number).read_bytes())
            except ValueError:
                if not _is_repeatable(kind):
                    raise
            else:
                yield record

    def move(self, number: int, kind: str, new_kind: str) -> None:
        """Move the record of a canvas to another kind."""
        (self.path / new_kind).mkdir(exist_ok=True)
        os.replace(self._record(kind, number), self._record(new_kind, number))

    def remove_record(self, kind: str, number: int) -> bool:
        """Remove the record of a canvas; return whether there was one."""
        try:
            self._record(kind, number).unlink()
        except FileNotFoundError:
            return False
        return True

    def remove_records(self, kind: str) -> None:
        """Remove the records of a kind."""
        shutil.rmtree(self.path / kind, ignore_errors=True)

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

    def _record(self, kind: str, number: int) -> Path:
        return self.path / kind / f"{number:04d}.json"


def _is_repeatable(kind: str) -> bool:
    """Return whether the records of a kind can be made again from cached images."""
    return kind == "detections" or kind.startswith("ahead-")
