"""Labels of YOLO (https://docs.ultralytics.com/datasets/detect/): a zip with ``data.yaml`` and a file for each page.

The images are not included: put them into a folder ``images`` next to ``labels``. A page without illustrations has an
empty label file. A failed page has none, because a page without a label file counts as empty; leave out its image.
"""

from pathlib import PurePosixPath

import yaml

from app.exports.archive import format_zip, list_failed
from app.exports.document import ExportedDocument, ExportedPage

# Name of the only class if nothing was detected: readers require at least one.
DEFAULT_CLASS = "illustration"


def format_archive(document: ExportedDocument) -> bytes:
    """Return the zip file. Classes are numbered from 0 without gaps, as readers require."""
    places = {class_id: place for place, class_id in enumerate(document.classes)}
    names = dict(enumerate(document.classes.values())) or {0: DEFAULT_CLASS}
    description = {"train": "images", "val": "images", "names": names}
    names_file = yaml.safe_dump(description, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")
    labels = (
        (f"labels/{PurePosixPath(page.file_name).stem}.txt", _format_labels(page, places).encode())
        for page in document.processed
    )
    return format_zip([("data.yaml", names_file), *labels, *list_failed(document)])


def _format_labels(page: ExportedPage, places: dict[int, int]) -> str:
    """Return a line ``class x y width height`` for each detection: its centre and size as fractions of the page."""
    width, height = page.size
    lines = []
    for box in page.boxes:
        x, y, w, h = box.xywh
        values = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
        lines.append(f"{places[box.class_id]} {' '.join(f'{value:.8f}' for value in values)}\n")
    return "".join(lines)
