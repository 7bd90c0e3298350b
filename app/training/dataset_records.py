"""A data set on disk.

    images/<split>/<stem>.<ext>    a page
    labels/<split>/<stem>.txt      its illustrations; empty for a page without illustrations
    dataset.json                   classes and counts

A label row is ``class x_center y_center width height``. The last four are fractions of the page's width and height,
with the origin at the top left (https://docs.ultralytics.com/datasets/detect/).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.errors import RequestError

SPLITS = ("train", "val", "test")
RECORD = "dataset.json"


@dataclass(frozen=True)
class Split:
    """Counts of one split of a data set.

    Attributes:
        images: Number of pages.
        illustrations: Number of boxes on all pages.
        empty: Number of pages without a box.
    """

    images: int
    illustrations: int
    empty: int


@dataclass(frozen=True)
class Dataset:
    """A data set: labelled pages in one or more splits.

    Attributes:
        name: Name that the client app uses.
        folder: Folder with ``images/``, ``labels/`` and ``dataset.json``; its content never changes.
        classes: Class names; a class id is an index into them.
        splits: Counts of the splits that exist, by name (``train``, ``val``, ``test``).
        changed: Time of the last upload, in seconds since the Unix epoch.
    """

    name: str
    folder: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    changed: float

    def list_pages(self, split: str) -> list[tuple[Path, Path]]:
        """Return the image and the label file of every page of a split, sorted by name.

        Every page has a label file, which may be empty.

        Raises:
            RequestError: If the data set has no such split.
        """
        if split not in self.splits:
            there = ", ".join(self.splits)
            raise RequestError(f"The data set {self.name} has no pages for {split}: it has {there}.")
        labels = self.folder / "labels" / split
        images = sorted((self.folder / "images" / split).iterdir())
        return [(image, labels / f"{image.stem}.txt") for image in images]


def load_dataset(folder: Path) -> Dataset:
    """Load the record of a data set from its folder in the store or in a job's folder.

    Raises:
        FileNotFoundError: If the folder contains no data set.
    """
    fields: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
    splits = {split: Split(**counts) for split, counts in fields["splits"].items()}
    return Dataset(fields["name"], folder, tuple(fields["classes"]), splits, fields["changed"])


def save_dataset(dataset: Dataset) -> None:
    """Write the record of a data set into its folder."""
    splits = {split: asdict(counts) for split, counts in dataset.splits.items()}
    fields = {"name": dataset.name, "classes": dataset.classes, "splits": splits, "changed": dataset.changed}
    (dataset.folder / RECORD).write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
