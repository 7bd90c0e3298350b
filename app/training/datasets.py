"""The data sets that client apps have sent, for training and testing.

    <folder>/<app id>/<name>/<version>/    a data set, as in ``records.py``

A version never changes: an upload makes the next one beside the store and gives it its name at the end, in one step.
The newest one is the data set.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from filelock import FileLock

from app.errors import RequestError
from app.images.formats import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from app.storage import check_space, lock_folder
from app.training.archives import open_archive
from app.training.dataset_pages import Pages, match_pages, sort_pages, unpack_pages
from app.training.dataset_records import RECORD, SPLITS, Dataset, Split, link_or_copy, load_dataset, save_dataset
from app.training.dataset_yaml import check_dataset_name, parse_classes, strip_suffix
from app.training.image_check import check_pictures

__all__ = ["SPLITS", "Dataset", "DatasetStore", "Split", "UploadLimits", "load_dataset", "save_dataset"]

# Under a name that no client app's folder has.
PARTS = ".parts"
LEFTOVER_SECONDS = 86400.0
# To how many times the largest upload an archive may unpack.
UNPACKED = 4


@dataclass(frozen=True)
class UploadLimits:
    """What is accepted of an upload.

    Attributes:
        upload_bytes: Of its body.
        image_bytes: Of an image file.
        image_pixels: Of an image.
        seconds: To receive it, and to decode all images. 2 GB at 5 Mbit/s take an hour.
    """

    upload_bytes: int
    image_bytes: int = MAX_IMAGE_BYTES
    image_pixels: int = MAX_IMAGE_PIXELS
    seconds: float = 3600.0


class DatasetStore:
    """The data sets of this installation; a client app sees its own only.

    Args:
        folder: Of all of them.
        limits: Of uploads.
    """

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self.folder = folder
        self.limits = limits

    def add_split(
        self, app_id: int, name: str, split: str, images_zip: IO[bytes], labels_zip: IO[bytes], yaml: bytes
    ) -> Dataset:
        """Add pages to a data set, which may be new; they take the place of those that it has for the same split.

        Raises:
            RequestError: What was wrong with name, archives, labels or YAML; nothing was changed.
            NoSpace: The disk is full; nothing was changed.
        """
        if split not in SPLITS:
            raise RequestError(f"action is {split[:40]!r}: send one of {', '.join(SPLITS)}.")
        name, classes, most = check_dataset_name(name), parse_classes(yaml), UNPACKED * self.limits.upload_bytes
        self._check_classes(self._load(app_id, name), classes)
        with (
            open_archive(images_zip, "img_zip", most) as images,
            open_archive(labels_zip, "anno_zip", most) as labels,
            self._work() as work,
        ):
            splits = self._unpack({split: match_pages(images, labels)}, work, len(classes))
            return self._publish(app_id, Dataset(name, work, classes, splits, time.time()), join=True)

    def add(self, app_id: int, name: str, dataset_zip: IO[bytes], yaml: bytes, flat: str = "test") -> Dataset:
        """Add a data set, in place of the one of that name if there is one.

        Args:
            app_id: Of the client app.
            name: Of the data set.
            dataset_zip: With the folders ``images`` and ``labels``.
            yaml: Names the classes.
            flat: The split for which the pages are, where no folder says so.

        Raises:
            RequestError: What was wrong with name, archive, labels or YAML; nothing was changed.
            NoSpace: The disk is full; nothing was changed.
        """
        if flat not in SPLITS:
            raise RequestError(f"action is {flat[:40]!r}: send one of {', '.join(SPLITS)}.")
        name, classes, most = check_dataset_name(name), parse_classes(yaml), UNPACKED * self.limits.upload_bytes
        with open_archive(dataset_zip, "dataset_zip", most) as archive, self._work() as work:
            splits = self._unpack(sort_pages(archive, flat), work, len(classes))
            return self._publish(app_id, Dataset(name, work, classes, splits, time.time()), join=False)

    def list(self, app_id: int) -> list[Dataset]:
        """Return the data sets of a client app, by name."""
        folders = sorted(self._place(app_id).glob("[!.]*"))
        return [dataset for folder in folders if (dataset := _load_newest(folder))]

    def find(self, app_id: int, name: str) -> Dataset:
        """Return a data set by name, with or without ``.yaml``.

        A name is looked up in the listing and never joined to a path.

        Raises:
            RequestError: The client app has no such data set.
        """
        known = {dataset.name: dataset for dataset in self.list(app_id)}
        found = known.get(name) or known.get(strip_suffix(name))
        if found is None:
            there = ", ".join(known) or "none"
            raise RequestError(f"{name[:100]!r} is not among your data sets: {there}.")
        return found

    def remove(self, app_id: int, name: str) -> Dataset:
        """Remove a data set, and return what it was. Jobs that have begun keep their pages.

        Raises:
            RequestError: The client app has no such data set.
        """
        with self._lock(app_id):
            dataset = self.find(app_id, name)
            self._discard(dataset.folder.parent)
        return dataset

    def remove_leftovers(self) -> int:
        """Remove what uploads left that were broken off a day ago or earlier, and return how many."""
        limit = time.time() - LEFTOVER_SECONDS
        superseded = [version for place in self.folder.glob("[0-9]*/[!.]*") for version in _list_versions(place)[:-1]]
        removed = 0
        for path in [*self.parts.glob("*"), *superseded]:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit and path.is_dir():
                    self._discard(path)
                    removed += 1
        return removed

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

    @property
    def parts(self) -> Path:
        """Where uploads lie while they are received and unpacked: on the same disk as the data sets."""
        return self.folder / PARTS

    def _place(self, app_id: int) -> Path:
        return self.folder / str(app_id)

    @contextlib.contextmanager
    def _work(self) -> Iterator[Path]:
        """Yield a new folder that is gone afterwards, or has become a data set."""
        self.parts.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=self.parts))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _unpack(self, pages: Mapping[str, Pages], work: Path, classes: int) -> dict[str, Split]:
        check_space(work, sum(each.size for each in pages.values()))
        splits = {
            split: unpack_pages(each, split, work, classes, self.limits.image_bytes) for split, each in pages.items()
        }
        check_pictures(work / "images", self.limits.image_pixels, self.limits.seconds)
        return splits

    def _publish(self, app_id: int, dataset: Dataset, *, join: bool) -> Dataset:
        """Give a finished folder its name, in one step; with the other splits that are there, if it is to join them."""
        with self._lock(app_id):
            old = self._load(app_id, dataset.name)
            if old and join:
                self._check_classes(old, dataset.classes)
                dataset = _join(old, dataset)
            save_dataset(dataset)
            os.sync()  # a power cut leaves either data set whole
            place = self._place(app_id) / dataset.name
            place.mkdir(exist_ok=True)
            newest = place / f"{max(time.time_ns(), int(old.folder.name) + 1 if old else 0):020d}"
            os.rename(dataset.folder, newest)
            if old:
                self._discard(old.folder)
        return load_dataset(newest)

    def _discard(self, folder: Path) -> None:
        """Take a folder out of its place, in one step, and then remove it."""
        with self._work() as work, contextlib.suppress(FileNotFoundError):
            os.rename(folder, work / "old")

    def _load(self, app_id: int, name: str) -> Dataset | None:
        return next((dataset for dataset in self.list(app_id) if dataset.name == name), None)

    def _lock(self, app_id: int) -> FileLock:
        """Return the lock with which a client app's data sets are changed."""
        place = self._place(app_id)
        place.mkdir(parents=True, exist_ok=True)
        return lock_folder(place)

    @staticmethod
    def _check_classes(old: Dataset | None, classes: tuple[str, ...]) -> None:
        if old and old.classes != classes:
            raise RequestError(
                f"The data set {old.name} has the classes {_show(old.classes)}, and yaml_file {_show(classes)}: send "
                "the same, take another name, or remove it first."
            )


def _join(old: Dataset, new: Dataset) -> Dataset:
    """Put the splits of a data set that a new one has not into its folder."""
    for split in old.splits.keys() - new.splits.keys():
        for kind in ("images", "labels"):
            shutil.copytree(old.folder / kind / split, new.folder / kind / split, copy_function=link_or_copy)
    splits = dict(old.splits) | dict(new.splits)
    return replace(new, splits={split: splits[split] for split in SPLITS if split in splits})


def _show(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _list_versions(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*"))


def _load_newest(folder: Path) -> Dataset | None:
    """Return the newest version of a data set; None when there is none. An upload may replace it at any moment."""
    for _ in range(10):
        versions = _list_versions(folder)
        if not versions:
            return None
        with contextlib.suppress(FileNotFoundError):
            return load_dataset(versions[-1])
    return None
