"""The store of uploaded data sets, for training and evaluation.

    <folder>/<app id>/<name>/<version>/    a data set, see ``dataset_records.py``
    <folder>/.parts/                       uploads in progress

A version never changes. An upload is unpacked in ``.parts`` and becomes the next version by one atomic rename. The
newest version is the current data set.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from filelock import FileLock

from app.errors import RequestError
from app.images.formats import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from app.storage import check_space, link, lock_folder
from app.storage.archives import open_archive
from app.training.dataset_pages import Page, find_ids, match_pages, sort_pages, unpack_pages
from app.training.dataset_records import RECORD, SPLITS, Dataset, Split, load_dataset, save_dataset
from app.training.dataset_yaml import check_dataset_name, parse_classes, parse_keypoints, strip_suffix
from app.training.image_check import check_images
from app.training.label_formats.yolo import ClassList

__all__ = ["SPLITS", "Dataset", "DatasetStore", "Split", "UploadLimits", "load_dataset", "save_dataset"]

# Folder for uploads in progress; no client app's folder has this name.
PARTS = ".parts"
LEFTOVER_SECONDS = 86400.0
# Most unpacked bytes of an archive, as a multiple of the largest upload.
UNPACKED = 4


@dataclass(frozen=True)
class UploadLimits:
    """Limits for an upload.

    Attributes:
        upload_bytes: Maximum size of the request body, in bytes.
        image_bytes: Maximum size of an image file, in bytes.
        image_pixels: Maximum number of pixels of an image.
        seconds: Timeout for receiving the upload, and for decoding all its images. 2 GB at 5 Mbit/s take an hour.
    """

    upload_bytes: int
    image_bytes: int = MAX_IMAGE_BYTES
    image_pixels: int = MAX_IMAGE_PIXELS
    seconds: float = 3600.0


class DatasetStore:
    """The data sets of this installation; a client app sees only its own.

    Args:
        folder: Root folder of the store.
        limits: Limits for uploads.
    """

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self.folder = folder
        self.limits = limits

    def add_split(
        self, app_id: int, name: str, split: str, images_zip: IO[bytes], labels_zip: IO[bytes], yaml: bytes
    ) -> Dataset:
        """Add a split to a data set, or create the data set; a split of the same name is replaced.

        Raises:
            RequestError: If the name, an archive, a label or the YAML is invalid. The store is unchanged.
            NoSpace: If the disk is full. The store is unchanged.
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
            pages = match_pages(images, labels, split, ClassList(classes, keypoints=parse_keypoints(yaml)))
            splits = self._unpack(pages, work, classes)
            return self._publish(app_id, Dataset(name, work, classes, splits, time.time()), join=True)

    def add(self, app_id: int, name: str, dataset_zip: IO[bytes], yaml: bytes, flat: str | None = None) -> Dataset:
        """Add a data set, or replace the one with the same name.

        Args:
            app_id: ID of the client app.
            name: Name of the data set.
            dataset_zip: Zip file in one of the layouts of ``docs/training.md``.
            yaml: Content of the YAML file with the class names.
            flat: Split of the pages if the archive names no splits; None if the request does not say.

        Raises:
            RequestError: If the name, the archive, a label or the YAML is invalid. The store is unchanged.
            NoSpace: If the disk is full. The store is unchanged.
        """
        if flat is not None and flat not in SPLITS:
            raise RequestError(f"action is {flat[:40]!r}: send one of {', '.join(SPLITS)}.")
        name, classes, most = check_dataset_name(name), parse_classes(yaml), UNPACKED * self.limits.upload_bytes
        with open_archive(dataset_zip, "dataset_zip", most) as archive, self._work() as work:
            pages = sort_pages(archive, flat, ClassList(classes, keypoints=parse_keypoints(yaml)))
            splits = self._unpack(pages, work, classes)
            return self._publish(app_id, Dataset(name, work, classes, splits, time.time()), join=False)

    def list(self, app_id: int) -> list[Dataset]:
        """Return the data sets of a client app, sorted by name."""
        folders = sorted(self._place(app_id).glob("[!.]*"))
        return [dataset for folder in folders if (dataset := _load_newest(folder))]

    def find(self, app_id: int, name: str) -> Dataset:
        """Return a data set by name, with or without ``.yaml``.

        The name is looked up in the listing and never joined to a path.

        Raises:
            RequestError: If the client app has no such data set.
        """
        known = {dataset.name: dataset for dataset in self.list(app_id)}
        found = known.get(name) or known.get(strip_suffix(name))
        if found is None:
            there = ", ".join(known) or "none"
            raise RequestError(f"{name[:100]!r} is not among your data sets: {there}.")
        return found

    def remove(self, app_id: int, name: str) -> Dataset:
        """Remove a data set and return its record. Running jobs have their own copy.

        Raises:
            RequestError: If the client app has no such data set.
        """
        with self._lock(app_id):
            dataset = self.find(app_id, name)
            self._discard(dataset.folder.parent)
        return dataset

    def remove_leftovers(self) -> int:
        """Remove folders of aborted uploads and superseded versions older than a day; return their number."""
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
        """Copy a data set into a job's folder, where uploads and removals do not affect it; return the copy.

        An existing copy is kept. Files are hard links if the file system supports them.

        Raises:
            RequestError: If the data set was replaced or removed during the copy.
        """
        if not (folder / RECORD).exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
                copy = Path(part, "dataset")
                try:
                    shutil.copytree(dataset.folder, copy, copy_function=link)
                finally:
                    if not (dataset.folder / RECORD).exists():  # a removal first moves the folder, then deletes it
                        raise RequestError(f"The data set {dataset.name} has just been changed: try again.")
                os.rename(copy, folder)
        return load_dataset(folder)

    @property
    def parts(self) -> Path:
        """Folder in which uploads are received and unpacked; on the same file system as the data sets."""
        return self.folder / PARTS

    def _place(self, app_id: int) -> Path:
        return self.folder / str(app_id)

    @contextlib.contextmanager
    def _work(self) -> Iterator[Path]:
        """Yield a new working folder; it is deleted at the end unless it was moved into the store."""
        self.parts.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=self.parts))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _unpack(self, pages: Mapping[str, Sequence[Page]], work: Path, classes: Sequence[str]) -> dict[str, Split]:
        check_space(work, sum(page.image.size for each in pages.values() for page in each))
        ids = find_ids(pages, classes)
        splits = {split: unpack_pages(each, split, work, ids, self.limits.image_bytes) for split, each in pages.items()}
        check_images(work / "images", self.limits.image_pixels, self.limits.seconds)
        return splits

    def _publish(self, app_id: int, dataset: Dataset, *, join: bool) -> Dataset:
        """Move a finished folder into the store as the newest version of its data set.

        With ``join``, the splits of the previous version that are not in the new one are kept.
        """
        with self._lock(app_id):
            old = self._load(app_id, dataset.name)
            if old and join:
                self._check_classes(old, dataset.classes)
                dataset = _join(old, dataset)
            save_dataset(dataset)
            os.sync()  # after a power failure, the old or the new version is complete
            place = self._place(app_id) / dataset.name
            place.mkdir(exist_ok=True)
            newest = place / f"{max(time.time_ns(), int(old.folder.name) + 1 if old else 0):020d}"
            os.rename(dataset.folder, newest)
            if old:
                self._discard(old.folder)
        return load_dataset(newest)

    def _discard(self, folder: Path) -> None:
        """Delete a folder; an atomic rename first takes it out of the store."""
        with self._work() as work, contextlib.suppress(FileNotFoundError):
            os.rename(folder, work / "old")

    def _load(self, app_id: int, name: str) -> Dataset | None:
        return next((dataset for dataset in self.list(app_id) if dataset.name == name), None)

    def _lock(self, app_id: int) -> FileLock:
        """Return the lock for changes to a client app's data sets."""
        place = self._place(app_id)
        place.mkdir(parents=True, exist_ok=True)
        return lock_folder(place)

    @staticmethod
    def _check_classes(old: Dataset | None, classes: tuple[str, ...]) -> None:
        if old and old.classes != classes:
            raise RequestError(
                f"The data set {old.name} has the classes {_show(old.classes)}, but yaml_file has {_show(classes)}: "
                "send the same classes, choose another name, or remove the data set first."
            )


def _join(old: Dataset, new: Dataset) -> Dataset:
    """Add the splits of the old version that the new version lacks; return the complete new version."""
    for split in old.splits.keys() - new.splits.keys():
        for kind in ("images", "labels"):
            shutil.copytree(old.folder / kind / split, new.folder / kind / split, copy_function=link)
    splits = dict(old.splits) | dict(new.splits)
    return replace(new, splits={split: splits[split] for split in SPLITS if split in splits})


def _show(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _list_versions(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*"))


def _load_newest(folder: Path) -> Dataset | None:
    """Return the newest version of a data set, or None."""
    for _ in range(10):  # an upload may replace and delete the version between the listing and the load
        versions = _list_versions(folder)
        if not versions:
            return None
        with contextlib.suppress(FileNotFoundError):
            return load_dataset(versions[-1])
    return None
