"""Data sets: labelled pages for training and testing, of a client app.

    <folder>/<app id>/<name>/<version>/images/<split>/<stem>.<ext>    a page
    <folder>/<app id>/<name>/<version>/labels/<split>/<stem>.txt      its illustrations; empty where there are none
    <folder>/<app id>/<name>/<version>/dataset.json                   classes and counts

A label row is ``class x_center y_center width height``, the last four relative to the page's width and height, from its
top-left corner (https://docs.ultralytics.com/datasets/detect/). A version never changes: an upload makes the next one
beside the store and gives it its name at the end, in one step. The newest one is the data set.
"""

import contextlib
import json
import os
import shutil
import tempfile
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


class DatasetStore:
    """The data sets of this installation; a client app sees its own only.

    Args:
        folder: Of all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self, app_id: int) -> list[Dataset]:
        """Return the data sets of a client app, by name."""
        folders = sorted(self._place(app_id).glob("*"))
        return [dataset for folder in folders if (dataset := _load_newest(folder))]

    def find(self, app_id: int, name: str) -> Dataset:
        """Return a data set by name, with or without ``.yaml``.

        A name is looked up in the listing and never joined to a path.

        Raises:
            RequestError: The client app has no such data set.
        """
        known = {dataset.name: dataset for dataset in self.list(app_id)}
        wanted = name.removesuffix(".yaml").removesuffix(".yml")
        if wanted not in known:
            there = ", ".join(known) or "none"
            raise RequestError(f"{name[:100]!r} is not among your data sets: {there}.")
        return known[wanted]

    def keep(self, dataset: Dataset, folder: Path) -> Dataset:
        """Return a copy of a data set in a folder of its own, which no upload changes and no removal takes away.

        What is there already from an earlier call stays as it is. Files are shared (hard links) where the disk can.

        Raises:
            RequestError: The data set was replaced or removed at this very moment.
        """
        if not (folder / RECORD).exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
                copy = Path(part, "dataset")
                try:
                    shutil.copytree(dataset.folder, copy, copy_function=link_or_copy)
                finally:
                    if not (dataset.folder / RECORD).exists():  # it is taken out of its place before it is removed
                        raise RequestError(f"The data set {dataset.name} has just been changed: try again.")
                os.rename(copy, folder)
        return load_dataset(folder)

    def _place(self, app_id: int) -> Path:
        return self.folder / str(app_id)


def link_or_copy(source: str, target: str) -> None:
    """Give a file one more name, or make a copy where the disk has no links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _load_newest(folder: Path) -> Dataset | None:
    """Return the newest version of a data set; None when there is none. An upload may replace it at any moment."""
    for _ in range(10):
        versions = sorted(folder.glob("[0-9]*"))
        if not versions:
            return None
        with contextlib.suppress(FileNotFoundError):
            return load_dataset(versions[-1])
    return None
