"""A data set of the pages that people have corrected: their images, with the corrected boxes as labels."""

import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from app.detection.annotations import AnnotatedPage
from app.errors import NotFound, RequestError
from app.storage import check_space
from app.training.datasets import Dataset, DatasetStore
from app.training.label_formats.yolo import LabelledBox, format_labels

# Fewest corrected pages of a data set, and of those with illustrations: one to learn from, one to evaluate on.
FEWEST_PAGES, FEWEST_WITH_BOXES = 5, 2
# Every fifth page with illustrations is for ``val``, and every fifth without, each beginning at its own place.
# Two pages with illustrations are thus enough for both splits.
_EACH, _FIRST = 5, {True: 1, False: 3}


def add_corrected_pages(
    store: DatasetStore, app_id: int, name: str, pages: Sequence[AnnotatedPage], load_image: Callable[[int], bytes]
) -> Dataset:
    """Add a data set of corrected pages to the store, or replace the one with the same name.

    Four fifths of the pages are for ``train``, one fifth is for ``val``. Pages whose image is missing are left out.

    Args:
        store: Store of data sets.
        app_id: ID of the client app.
        name: Name of the data set.
        pages: Corrected pages with their sizes.
        load_image: Returns the image of a page by its number, in any resolution.

    Raises:
        RequestError: The name is invalid, or there are too few pages.
        NoSpace: The disk is full.
    """
    classes = [name for _, name in sorted({(box.class_id, box.class_name) for page in pages for box in page.boxes})]
    with tempfile.TemporaryFile(dir=store.parts) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            found = [*_add_pages(archive, store, pages, classes, load_image)]
        _check_count(pages, found)
        file.seek(0)
        return store.add(app_id, name, file, json.dumps({"names": classes}, ensure_ascii=False).encode())


def _add_pages(
    archive: zipfile.ZipFile,
    store: DatasetStore,
    pages: Sequence[AnnotatedPage],
    classes: Sequence[str],
    load_image: Callable[[int], bytes],
) -> Iterator[AnnotatedPage]:
    """Write images and labels into an archive, and yield their pages."""
    counts: Counter[bool] = Counter()
    for page in pages:
        with suppress(NotFound):
            image, has_boxes = load_image(page.number), bool(page.boxes)
            check_space(store.parts, len(image))
            split = "val" if counts[has_boxes] % _EACH == _FIRST[has_boxes] else "train"
            counts[has_boxes] += 1
            archive.writestr(f"images/{split}/{page.number:04d}.jpg", image)
            archive.writestr(f"labels/{split}/{page.number:04d}.txt", _format_labels(page, classes))
            yield page


def _check_count(corrected: Sequence[AnnotatedPage], found: Sequence[AnnotatedPage]) -> None:
    with_boxes = sum(bool(page.boxes) for page in found)
    if len(found) >= FEWEST_PAGES and with_boxes >= FEWEST_WITH_BOXES:
        return
    missing = len(corrected) - len(found)
    removed = f" The images of {missing} more are no longer cached." if missing else ""
    raise RequestError(
        f"A data set needs at least {FEWEST_PAGES} corrected pages, {FEWEST_WITH_BOXES} of them with illustrations: "
        f"the job has {len(found)}, {with_boxes} of them with illustrations.{removed}"
    )


def _format_labels(page: AnnotatedPage, classes: Sequence[str]) -> str:
    width, height = page.width or 1, page.height or 1
    boxes = [
        LabelledBox(box.class_name, (x / width, y / height, (x + w) / width, (y + h) / height))
        for box in page.boxes
        for x, y, w, h in [box.xywh]
    ]
    return format_labels(boxes, {name: place for place, name in enumerate(classes)})
