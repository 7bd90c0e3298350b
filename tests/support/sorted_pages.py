"""Helpers for tests that sort the files of an upload, without a store and without decoding images."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.storage.archives import open_archive
from app.training.dataset_pages import Page, match_pages, sort_pages
from app.training.label_formats.yolo import ClassList
from tests.support.archives import make_image, make_zip

PAGE = make_image()
NAMES = ("illustration", "initial")
BOX = b"0 0.5 0.5 0.2 0.4\n"
# The same box, as edges in pixels of a page of 100 x 200.
EDGES = (40, 60, 60, 140)
LIMIT = 100_000_000

Sorted = dict[str, dict[str, list[str]]]


def sort(files: Mapping[str, bytes], flat: str | None = None, names: Sequence[str] = NAMES) -> Sorted:
    """Return the classes of the boxes of each page, by split and page name."""
    with open_archive(make_zip(files), "dataset_zip", LIMIT) as archive:
        return _list(sort_pages(archive, flat, ClassList(names)))


def match(
    images: Mapping[str, bytes], labels: Mapping[str, bytes], split: str = "train", names: Sequence[str] = NAMES
) -> Sorted:
    """Do the same for the two archives of one split."""
    with (
        open_archive(make_zip(images), "img_zip", LIMIT) as pages,
        open_archive(make_zip(labels), "anno_zip", LIMIT) as annotations,
    ):
        return _list(match_pages(pages, annotations, split, ClassList(names)))


def _list(pages: Mapping[str, Sequence[Page]]) -> Sorted:
    return {
        split: {page.name: [box.class_name for box in page.boxes] for page in each} for split, each in pages.items()
    }


def make_coco(
    files: Sequence[str] = ("a.jpg",), categories: Mapping[Any, str] | None = None, **annotation: Any
) -> bytes:
    """Return COCO JSON with one box in each image."""
    categories = categories or {7: "illustration"}
    first = next(iter(categories))
    box = {"category_id": first, "bbox": [40, 60, 20, 80], "iscrowd": 0} | annotation
    document = {
        "images": [{"id": n, "file_name": name, "width": 100, "height": 200} for n, name in enumerate(files, 5)],
        "annotations": [{"id": n, "image_id": n} | box for n, _ in enumerate(files, 5)],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }
    return json.dumps(document).encode()


def make_labelme(name: str = "a.jpg", label: str = "illustration", **shape: Any) -> bytes:
    left, top, right, bottom = EDGES
    shape = {"label": label, "points": [[left, top], [right, bottom]], "shape_type": "rectangle"} | shape
    return json.dumps({"shapes": [shape], "imagePath": name, "imageWidth": 100, "imageHeight": 200}).encode()


def make_voc(name: str = "a.jpg", label: str = "illustration") -> bytes:
    left, top, right, bottom = EDGES
    return (
        f"<annotation><folder>scans</folder><filename>{name}</filename><size><width>100</width><height>200</height>"
        f"<depth>3</depth></size><object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object></annotation>"
    ).encode()
