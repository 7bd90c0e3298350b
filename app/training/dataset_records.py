"""A data set as it lies on the disk.

    images/<split>/<stem>.<ext>    a page
    labels/<split>/<stem>.txt      its illustrations; empty where there are none
    dataset.json                   classes and counts

A label row is ``class x_center y_center width height``, the last four relative to the page's width and height, from its
top-left corner (https://docs.ultralytics.com/datasets/detect/).
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.errors import RequestError

SPLITS = ("train", "val", "test")
RECORD = "dataset.json"


@dataclass(frozen=True)
class Split:
    """Pages of a data set for one purpose.

    Attributes:
        images: Pages.
        illustrations: Boxes on them.
        empty: Pages without any.
    """

    images: int
    illustrations: int
    empty: int


@dataclass(frozen=True)
class Dataset:
    """Labelled pages.

    Attributes:
        name: By which its client app knows it.
        folder: Holds ``images/``, ``labels/`` and the record; never changes.
        classes: Names of what is labelled; a class id is a place among them.
        splits: Those of ``train``, ``val``, ``test`` that it has.
        changed: When pages last came to it, in seconds since the epoch.
    """

    name: str
    folder: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    changed: float

    def list_pages(self, split: str) -> list[tuple[Path, Path]]:
        """Return the image and the label file of every page of a split, by name. The latter exists, and may be empty.

        Raises:
            RequestError: The data set has no such split.
        """
        if split not in self.splits:
            there = ", ".join(self.splits)
            raise RequestError(f"The data set {self.name} has no pages for {split}: it has {there}.")
        labels = self.folder / "labels" / split
        images = sorted((self.folder / "images" / split).iterdir())
        return [(image, labels / f"{image.stem}.txt") for image in images]


def load_dataset(folder: Path) -> Dataset:
    """Load the record of a data set from its folder, in the store or a job's own.

    Raises:
        FileNotFoundError: There is no data set.
    """
    fields: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
    splits = {split: Split(**counts) for split, counts in fields["splits"].items()}
    return Dataset(fields["name"], folder, tuple(fields["classes"]), splits, fields["changed"])


def save_dataset(dataset: Dataset) -> None:
    """Write the record of a data set into its folder."""
    splits = {split: asdict(counts) for split, counts in dataset.splits.items()}
    fields = {"name": dataset.name, "classes": dataset.classes, "splits": splits, "changed": dataset.changed}
    (dataset.folder / RECORD).write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")


def link_or_copy(source: str, target: str) -> None:
    """Give a file one more name, or make a copy where the disk has no links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
