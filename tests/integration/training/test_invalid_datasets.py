"""Uploads of data sets that the store rejects."""

import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.errors import ExtractorError, NoSpace, RequestError, TooLarge
from app.storage import files
from app.training import page_index
from app.training.datasets import DatasetStore
from tests.support.archives import BOX, YAML, make_image, make_pages
from tests.support.uploaded_datasets import OURS, PAGE, add, list_files

FAULTS: dict[str, tuple[Mapping[str, bytes], str]] = {
    "nothing": ({}, "dataset_zip has no pages"),
    "no images": ({"a.txt": BOX, "README.md": b"x"}, "dataset_zip has no pages"),
    "labels alone": ({"labels/a.txt": BOX}, "dataset_zip has no pages"),
    "no labels": ({"images/a.jpg": PAGE}, "None of the 1 images for test has a label file"),
    "a split without labels": (
        {"images/train/a.jpg": PAGE, "labels/train/a.txt": BOX, "images/val/b.jpg": PAGE},
        "None of the 1 images for val",
    ),
    "a label without an image": (
        {"images/a.jpg": PAGE, "labels/a.txt": BOX, "labels/b.txt": BOX},
        "no image with the same name in the same split: labels/b.txt in dataset_zip",
    ),
    "a label of another split": (
        {"images/train/a.jpg": PAGE, "labels/train/a.txt": BOX, "labels/val/a.txt": BOX},
        "no image with the same name in the same split: labels/val/a.txt in dataset_zip",
    ),
    "two data sets": (
        {"a/images/a.jpg": PAGE, "a/labels/a.txt": BOX, "b/images/b.jpg": PAGE, "b/labels/b.txt": BOX},
        "The folder a in dataset_zip is none of train, val or test: use images/train/",
    ),
    "flat and in folders": (
        {"images/a.jpg": PAGE, "labels/a.txt": BOX, "images/val/b.jpg": PAGE, "labels/val/b.txt": BOX},
        "images/a.jpg in dataset_zip is in no folder of a split, but images/val/b.jpg is for val",
    ),
    "one page in two forms": (
        {"images/a.jpg": PAGE, "images/a.png": make_image("PNG"), "labels/a.txt": BOX},
        "images/a.jpg and images/a.png in dataset_zip would be the same page",
    ),
    "one label for two pages": (
        {"images/train/x/a.jpg": PAGE, "images/train/y/a.jpg": PAGE, "labels/train/a.txt": BOX},
        "'labels/train/a.txt' could belong to images/train/x/a.jpg or images/train/y/a.jpg in dataset_zip",
    ),
    "no image": (
        {"images/a.jpg": b"%PDF-1.4", "labels/a.txt": BOX},
        "images/a.jpg in dataset_zip is not a supported image but a PDF document",
    ),
    "a GIF": (
        {"images/a.jpg": make_image("GIF"), "labels/a.txt": BOX},
        "images/a.jpg in dataset_zip is not a supported image but a file in the format GIF",
    ),
    "an empty image": ({"images/a.jpg": b"", "labels/a.txt": BOX}, "images/a.jpg in dataset_zip is not a supported"),
    "half an image": ({"images/a.jpg": PAGE[:300], "labels/a.txt": BOX}, "a.jpg is a damaged image"),
    "no label file": ({"images/a.jpg": PAGE, "labels/a.xml": BOX}, "labels/a.xml in dataset_zip is not valid XML"),
    "a class too high": (
        {"images/a.jpg": PAGE, "labels/a.txt": b"2 .5 .5 .2 .2"},
        "labels/a.txt in dataset_zip, line 1: there is no class 2",
    ),
    "a large image": ({"images/a.bmp": os.urandom(200_000), "labels/a.txt": BOX}, "at most 0.1 MB"),
    "a large label": ({"images/a.jpg": PAGE, "labels/a.txt": b"\n" * 1_100_000}, "at most 1 MB"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_invalid_data_set_is_rejected_and_leaves_no_files(store: DatasetStore, fault: str) -> None:
    before = store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    files = list_files(store)
    contents, sentence = FAULTS[fault]
    with pytest.raises(RequestError) as caught:
        add(store, contents)
    assert sentence in caught.value.message
    assert caught.value.message.endswith(".")
    assert isinstance(caught.value, TooLarge) == ("large" in fault)
    assert (store.list(OURS), list_files(store)) == ([before], files)
    assert not list(store.parts.iterdir())


@pytest.mark.parametrize("split", ["", "valid", "TRAIN", "../train"])
def test_an_unknown_split_name_is_rejected(store: DatasetStore, split: str) -> None:
    with pytest.raises(RequestError, match="send one of train, val, test"):
        store.add_split(OURS, "eida", split, *make_pages("p1"), YAML)
    with pytest.raises(RequestError, match="send one of train, val, test"):
        add(store, {}, flat=split)
    assert store.list(OURS) == []


COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "illustration"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [place, 0, 10, 10]} for place in range(4)],
}


@pytest.mark.parametrize(
    "labels",
    [
        {f"{name}.txt": BOX + b"0 0.5 0.5 0.1 0.1\n" for name in "ab"},
        {"labels.json": json.dumps(COCO).encode()},
    ],
    ids=["YOLO", "COCO"],
)
def test_an_upload_with_too_many_boxes_is_rejected(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch, labels: dict[str, bytes]
) -> None:
    pages = {f"{name}.jpg": PAGE for name in "ab"}
    monkeypatch.setattr(page_index, "MOST_BOXES", 3)
    with pytest.raises(TooLarge, match="The labels have more than 3 boxes: send fewer pages"):
        add(store, pages | labels)
    assert list_files(store) == []
    monkeypatch.setattr(page_index, "MOST_BOXES", 4)
    assert add(store, pages | labels).splits["test"].illustrations == 4


def test_an_upload_that_would_fill_the_disk_is_not_unpacked(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=files.SPARE_BYTES + 100))
    with pytest.raises(NoSpace, match="There is no space left"):
        store.add_split(OURS, "eida", "train", *make_pages("p1"), YAML)
    assert list_files(store) == []


@pytest.mark.parametrize(
    "send",
    [
        lambda store, broken: store.add(OURS, "eida", broken, YAML),
        lambda store, broken: store.add_split(OURS, "eida", "train", broken, make_pages("a")[1], YAML),
        lambda store, broken: store.add_split(OURS, "eida", "train", make_pages("a")[0], broken, YAML),
    ],
)
def test_the_error_for_a_broken_archive_names_its_field(
    store: DatasetStore, send: Callable[[DatasetStore, io.BytesIO], Any]
) -> None:
    with pytest.raises(ExtractorError, match=r"^(dataset_zip|img_zip|anno_zip) is not a zip file"):
        send(store, io.BytesIO(b"PK\x03\x04" + bytes(100)))
    assert store.list(OURS) == []
