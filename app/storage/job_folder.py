"""What lies in the folder of a job."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
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

    @property
    def last_training_activity(self) -> float:
        """When a training last kept what it had learned, or pages came."""
        there = [folder for folder in (self.path, self.training / "weights") if folder.exists()]
        return max((folder.stat().st_mtime for folder in there), default=0.0)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def forget_training(self) -> None:
        """Remove what is needed only to go on with a training or a test, and pages whose copying was broken off.

        It is taken out of its place before: what is still there is whole. What was learned goes before the pages that
        it was learned from, for there may be others then.
        """
        for folder in (self.training, self.dataset):
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, tempfile.mkdtemp(dir=self.path, prefix=".part-"))
        for part in self.path.glob(".part-*"):
            shutil.rmtree(part, ignore_errors=True)

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

    def remove_records(self, kind: str) -> None:
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
