"""The result of a detection job with pages of every status, and names that are hostile to file formats."""

import json
from collections.abc import Sequence
from typing import Any

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.exports.annotation_files import describe_pages, format_text
from app.exports.document import ExportedDocument, load_document
from app.storage import JobFolder, write_atomic

BASE = "https://library.example"
SOURCE = f"{BASE}/ms/manifest.json"
ADDRESS = "https://api.example/jobs/0123"
HOSTILE_NAME = '../<b>&"é\x01?.jpg'
HOSTILE_CLASS = "=cmd|'/c calc'!A1;}:{<\x02"

WOODCUT = BoxRecord((100, 200, 300, 400), 0.9312, 0, "illustration")
INITIAL = BoxRecord((900, 700, 101, 101), 0.5, 3, "initial")  # one pixel beyond the page
ODD = BoxRecord((0, 0, 10, 20), 0.25, 7, HOSTILE_CLASS)
PAGES = (
    AnnotatedPage(1, f"{BASE}/canvas/1", "a.jpg", 1000, 800, PageStatus.DETECTED, (WOODCUT, INITIAL)),
    AnnotatedPage(2, f"{BASE}/canvas/2", "b.jpg", 600, 900, PageStatus.EMPTY),
    AnnotatedPage(3, f"{BASE}/canvas/3", "c.jpg", None, None, PageStatus.FAILED, reason="It answered\n404."),
    AnnotatedPage(4, "=no address", HOSTILE_NAME, 50, 60, PageStatus.DETECTED, (ODD,)),
)


def build_canvas(number: int, width: int, height: int, service: bool = True) -> dict[str, Any]:
    """Return a canvas of Presentation 3 with one image of 1000 x 800 pixels."""
    body: dict[str, Any] = {"id": f"{BASE}/{number}.jpg", "type": "Image", "width": 1000, "height": 800}
    if service:
        body["service"] = [{"id": f"{BASE}/iiif/{number}", "type": "ImageService3", "profile": "level2"}]
    painting = {"type": "Annotation", "motivation": "painting", "body": body}
    label = {"en": [f"fol. {number}r"]}
    size = {"width": width, "height": height}
    return {"id": f"{BASE}/canvas/{number}", "type": "Canvas", "label": label, **size, "items": [{"items": [painting]}]}


MANIFEST = {
    "@context": "http://iiif.io/api/presentation/3/context.json",
    "id": SOURCE,
    "type": "Manifest",
    "label": {"la": ["Liber"]},
    "metadata": [{"label": {"en": ["Author"]}, "value": {"none": ["N. N."]}}],
    "rights": "https://creativecommons.org/licenses/by/4.0/",
    "requiredStatement": {"label": {"en": ["Owner"]}, "value": {"en": ["A library"]}},
    "items": [build_canvas(1, 500, 400), build_canvas(2, 600, 900), build_canvas(3, 10, 20), {"id": "=no address"}],
}


def save_result(folder: JobFolder, pages: Sequence[AnnotatedPage] = PAGES, manifest: Any = MANIFEST) -> None:
    """Save the files of a finished detection job. The canvas of page 1 is half as large as its image.

    Args:
        folder: Folder of the job.
        pages: Pages of the result.
        manifest: Manifest of the job; None for a job without one.
    """
    write_atomic(folder.annotations, format_text(pages).encode())
    write_atomic(folder.annotations_json, json.dumps(describe_pages(pages)).encode())
    if manifest is not None:
        write_atomic(folder.manifest, json.dumps(manifest).encode())


def load_result(folder: JobFolder, query: str = "") -> ExportedDocument:
    """Load these files as a writer gets them."""
    return load_document(
        folder, {"manifest_url": SOURCE}, folder.path / "images", ADDRESS, ref="ms", model="eida_04_2024", query=query
    )
