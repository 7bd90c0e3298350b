"""The data set store: upload, replacement, copies for jobs, removal."""

import errno
import fcntl
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import RequestError
from app.training.datasets import LEFTOVER_SECONDS, DatasetStore, Split, load_dataset
from tests.support.archives import BOX, YAML, make_image, make_pages, make_zip
from tests.support.uploaded_datasets import OTHERS, OURS, PAGE, add, list_files


def test_a_split_is_stored_with_pages_and_labels(store: DatasetStore) -> None:
    images = make_zip({"p2.jpg": PAGE, "p1.tiff": make_image("TIFF"), "p3.JPEG": PAGE})
    labels = make_zip({"p1.txt": BOX + b"1 .1 .1 .1 .1\n", "p2.TXT": b"", "classes.txt": b"illustration\ninitial"})
    dataset = store.add_split(OURS, "eida.yaml", "train", images, labels, YAML)
    assert (dataset.name, dataset.classes) == ("eida", ("illustration", "initial"))
    assert dataset.splits == {"train": Split(images=3, illustrations=2, empty=2)}
    pages = dataset.list_pages("train")
    assert [(image.name, label.name) for image, label in pages] == [
        ("p1.tif", "p1.txt"),
        ("p2.jpg", "p2.txt"),
        ("p3.jpg", "p3.txt"),
    ]
    assert pages[1][0].read_bytes() == PAGE
    assert pages[0][1].read_text().splitlines() == [
        "0 0.500000 0.500000 0.200000 0.400000",
        "1 0.100000 0.100000 0.100000 0.100000",
    ]
    assert pages[2][1].read_text() == ""
    assert dataset == load_dataset(dataset.folder) == store.find(OURS, "eida") == store.find(OURS, "eida.yaml")


def test_an_uploaded_split_replaces_only_the_split_of_the_same_name(store: DatasetStore) -> None:
    store.add_split(OURS, "eida", "train", *make_pages("p1", "p2"), YAML)
    store.add_split(OURS, "eida", "val", *make_pages("p3"), YAML)
    dataset = store.add_split(OURS, "eida", "train", *make_pages("p4", "p5", "p6"), YAML)
    assert {split: counts.images for split, counts in dataset.splits.items()} == {"train": 3, "val": 1}
    assert [image.stem for image, _ in dataset.list_pages("train")] == ["p4", "p5", "p6"]
    assert [image.stem for image, _ in dataset.list_pages("val")] == ["p3"]
    assert len(list_files(store)) == 4 * 2 + 1


def test_concurrent_uploads_of_splits_are_all_stored(store: DatasetStore) -> None:
    def send(split: str) -> None:
        store.add_split(OURS, "eida", split, *make_pages(split), YAML)

    threads = [threading.Thread(target=send, args=(split,)) for split in ("train", "val", "test")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(store.find(OURS, "eida").splits) == ["train", "val", "test"]


def test_a_split_with_other_classes_is_rejected(store: DatasetStore) -> None:
    before = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    with pytest.raises(RequestError, match="has the classes illustration, initial, but yaml_file has initial: send"):
        store.add_split(OURS, "eida", "val", *make_pages("p1"), b"names: [initial]")
    assert store.list(OURS) == [before]
    store.add(OURS, "eida", make_zip({"images/a.jpg": PAGE, "labels/a.txt": BOX}), b"names: [initial]")
    assert store.find(OURS, "eida").classes == ("initial",)


class Interrupted(io.BytesIO):
    """An upload that calls a function when it is read for the first time."""

    def __init__(self, content: io.BytesIO, happen: Callable[[], Any]) -> None:
        super().__init__(content.getvalue())
        self.happen: Callable[[], Any] | None = happen

    def read(self, size: int | None = -1) -> bytes:
        if self.happen:
            happen, self.happen = self.happen, None
            happen()
        return super().read(size)


def test_classes_that_change_during_an_upload_are_rejected(store: DatasetStore) -> None:
    images, labels = make_pages("p1")
    other = b"names: [illustration]"
    images = Interrupted(images, lambda: store.add_split(OURS, "eida", "val", *make_pages("p2"), other))
    with pytest.raises(RequestError, match="has the classes illustration, but yaml_file has illustration, initial"):
        store.add_split(OURS, "eida", "train", images, labels, YAML)
    assert store.find(OURS, "eida").splits.keys() == {"val"}


def test_a_split_added_during_an_upload_is_kept(store: DatasetStore) -> None:
    images, labels = make_pages("p1")
    images = Interrupted(images, lambda: store.add_split(OURS, "eida", "val", *make_pages("p2"), YAML))
    store.add_split(OURS, "eida", "train", images, labels, YAML)
    assert list(store.find(OURS, "eida").splits) == ["train", "val"]


def test_publishing_holds_the_lock_of_the_client_app(store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def try_lock() -> None:
        with (store.folder / str(OURS) / ".lock").open("wb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tries.append("locked")

    monkeypatch.setattr(os, "sync", try_lock)
    store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    assert tries == ["locked"]


def test_a_client_app_sees_only_its_own_data_sets(store: DatasetStore) -> None:
    ours = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    store.add_split(OTHERS, "eida", "val", *make_pages("p1"), YAML)
    store.add_split(OTHERS, "vhs", "val", *make_pages("p1"), YAML)
    assert store.list(OURS) == [ours]
    assert [dataset.name for dataset in store.list(OTHERS)] == ["eida", "vhs"]
    with pytest.raises(RequestError, match="'vhs' is not among your data sets: eida"):
        store.find(OURS, "vhs")


@pytest.mark.parametrize("name", ["", "..", "../2/eida", "/", ".parts", "eida/../eida", "*"])
def test_a_name_is_never_used_as_a_path(store: DatasetStore, name: str) -> None:
    store.add_split(OTHERS, "eida", "train", *make_pages("p1"), YAML)
    for ask in (store.find, store.remove):
        with pytest.raises(RequestError, match="is not among your data sets: none"):
            ask(OURS, name)


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["images/train/a.jpg", "labels/train/a.txt", "images/val/b.png", "labels/val/b.txt"], ["train", "val"]),
        (["train/images/a.jpg", "train/labels/a.txt", "valid/images/b.jpg", "valid/labels/b.txt"], ["train", "val"]),
        (["eida/images/test/a.jpg", "eida/labels/test/a.txt", "eida/README.pdf", "eida/data.yaml"], ["test"]),
        (["images/a.jpg", "labels/a.txt"], ["test"]),
        (["Images/Train/ms1/a.jpg", "Labels/Train/ms1/a.txt"], ["train"]),
        (["images/images/a.jpg", "images/labels/a.txt"], ["test"]),
        (["images/a.jpg", "labels/a.txt", "__MACOSX/images/._a.jpg", "images/.DS_Store", "images/Thumbs.db"], ["test"]),
        (["images/a.jpg", "labels/a.txt", "labels.cache", "labels/train.cache"], ["test"]),
    ],
)
def test_yolo_and_roboflow_folder_layouts_are_accepted(
    store: DatasetStore, files: list[str], splits: list[str]
) -> None:
    contents = {".jpg": PAGE, ".png": make_image("PNG"), ".txt": BOX}
    dataset = add(store, {name: contents.get(Path(name).suffix, b"x") for name in files})
    assert list(dataset.splits) == splits
    assert {counts.images for counts in dataset.splits.values()} == {1}
    assert {counts.illustrations for counts in dataset.splits.values()} == {1}


def test_pages_without_split_folders_go_to_the_named_split(store: DatasetStore) -> None:
    assert list(add(store, {"images/a.jpg": PAGE, "labels/a.txt": BOX}, flat="val").splits) == ["val"]


def test_a_data_set_replaces_the_one_with_the_same_name(store: DatasetStore) -> None:
    store.add_split(OURS, "eida", "train", *make_pages("p1", "p2"), YAML)
    dataset = add(store, {"images/val/a.jpg": PAGE, "labels/val/a.txt": BOX})
    assert store.list(OURS) == [dataset]
    assert len(list_files(store)) == 3


@pytest.mark.parametrize("step", ["sync", "rename"])
def test_a_disk_error_at_publication_keeps_the_old_version(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "broken")

    before = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    files = list_files(store)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="broken"):
            store.add_split(OURS, "eida", "train", *make_pages("p2"), YAML)
    assert (store.list(OURS), list_files(store)) == ([before], files)


def test_a_job_keeps_its_pages_after_later_uploads(store: DatasetStore, tmp_path: Path) -> None:
    dataset = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    kept = store.keep(dataset, tmp_path / "job" / "dataset")
    store.add_split(OURS, "eida", "train", *make_pages("p2"), YAML)
    assert [image.name for image, _ in kept.list_pages("train")] == ["p1.jpg"]
    store.remove(OURS, "eida")
    assert (store.list(OURS), list_files(store)) == ([], [])
    ((image, label),) = store.keep(dataset, tmp_path / "job" / "dataset").list_pages("train")
    assert (image.read_bytes(), label.read_text()) == (PAGE, "0 0.500000 0.500000 0.200000 0.400000\n")


def test_a_job_gets_hard_links_or_copies_without_link_support(
    store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "another disk")

    dataset = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    ((page, _),) = dataset.list_pages("train")
    store.keep(dataset, tmp_path / "one")
    assert page.stat().st_nlink == 2
    monkeypatch.setattr(os, "link", refuse)
    ((copy, _),) = store.keep(dataset, tmp_path / "two").list_pages("train")
    assert (copy.stat().st_nlink, copy.read_bytes()) == (1, PAGE)


def test_a_data_set_replaced_during_the_copy_is_not_kept(store: DatasetStore, tmp_path: Path) -> None:
    dataset = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    store.add_split(OURS, "eida", "train", *make_pages("p2"), YAML)
    with pytest.raises(RequestError, match="The data set eida has just been changed"):
        store.keep(dataset, tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_a_missing_split_is_named(store: DatasetStore) -> None:
    dataset = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    with pytest.raises(RequestError, match="The data set eida has no pages for val: it has train"):
        dataset.list_pages("val")


def test_only_leftovers_older_than_a_day_are_removed(store: DatasetStore) -> None:
    dataset = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    superseded = dataset.folder.with_name("0" * 20)
    shutil.copytree(dataset.folder, superseded)
    old, new = store.parts / "old", store.parts / "new"
    for part in (old, new):
        (part / "images").mkdir(parents=True)
    (store.parts / "lock-0").touch()
    yesterday = time.time() - LEFTOVER_SECONDS - 1
    for path in (old, superseded, dataset.folder, store.parts / "lock-0"):
        os.utime(path, (yesterday, yesterday))
    assert store.list(OURS) == [dataset]
    assert store.remove_leftovers() == 2
    assert (old.exists(), superseded.exists(), new.exists()) == (False, False, True)
    assert store.list(OURS) == [dataset]


def test_the_record_of_a_data_set_is_json(store: DatasetStore) -> None:
    dataset = store.add_split(OURS, "eida", "train", *make_pages("p1"), "names: [lettre ornée]".encode())
    record = json.loads((dataset.folder / "dataset.json").read_bytes())
    assert (record["name"], record["classes"]) == ("eida", ["lettre ornée"])
