"""Annotations of IIIF Presentation 3 (https://iiif.io/api/presentation/3.0/#55-annotation-page), in canvas units.

Viewers show annotations with the motivation ``tagging`` without further settings.
"""

import json
from typing import Any

from app.detection.annotations import BoxRecord
from app.exports.document import ExportedDocument, ExportedPage

CONTEXT = "http://iiif.io/api/presentation/3/context.json"


def format_collection(document: ExportedDocument) -> str:
    """Return an annotation collection with an annotation page for each canvas.

    An empty page has an annotation page without items. A failed page has no annotation page.
    """
    collection_id = f"{document.address}/annotations?format=iiif"
    pages = [build_page(document, page) for page in document.processed]
    total = sum(len(page["items"]) for page in pages)
    part = [{"id": collection_id, "type": "AnnotationCollection"}]
    links = [{"id": page["id"], "type": page["type"]} for page in pages]
    collection = {
        "@context": CONTEXT,
        "id": collection_id,
        "type": "AnnotationCollection",
        "label": {"none": [document.ref]},
        **({"total": total} if total else {}),  # the specification does not permit 0
        # A client may follow the pages one by one: https://www.w3.org/TR/annotation-model/#annotation-collection
        **({"first": links[0], "last": links[-1]} if links else {}),
        "items": [
            page | {"partOf": part} | ({"next": following} if following else {})
            for page, following in zip(pages, [*links[1:], None], strict=False)
        ],
    }
    return json.dumps(collection)


def build_page(document: ExportedDocument, page: ExportedPage) -> dict[str, Any]:
    """Return the annotation page of a canvas. Its label is the name of the image."""
    page_id = f"{document.address}/annotations/{page.record.number}"
    return {
        "id": page_id,
        "type": "AnnotationPage",
        "label": {"none": [page.record.image_name]},
        "items": [
            build_annotation(f"{page_id}/{number}", build_bodies(box), page.canvas_url, page.scale_to_canvas(box))
            for number, box in enumerate(page.boxes, 1)
        ],
    }


def build_bodies(box: BoxRecord) -> list[str]:
    """Return the texts of an annotation: the class and the confidence."""
    return [box.class_name, f"confidence {box.confidence:.2f}"]


def build_annotation(
    annotation_id: str, texts: list[str], canvas_url: str, xywh: tuple[int, int, int, int]
) -> dict[str, Any]:
    """Return an annotation.

    Args:
        annotation_id: URL that identifies it.
        texts: A tag, then further texts.
        canvas_url: ID of the canvas.
        xywh: Region of the canvas, in canvas units.
    """
    purposes = ["tagging", *["describing"] * (len(texts) - 1)]
    return {
        "id": annotation_id,
        "type": "Annotation",
        "motivation": "tagging",
        "body": [
            {"type": "TextualBody", "value": text, "format": "text/plain", "purpose": purpose}
            for text, purpose in zip(texts, purposes, strict=True)
        ],
        "target": build_target(canvas_url, xywh),
    }


def build_target(canvas_url: str, xywh: tuple[int, int, int, int]) -> str | dict[str, Any]:
    """Return a region of a canvas. A URL that has a fragment itself needs the longer form."""
    fragment = f"xywh={','.join(map(str, xywh))}"
    if "#" not in canvas_url:
        return f"{canvas_url}#{fragment}"
    selector = {"type": "FragmentSelector", "conformsTo": "http://www.w3.org/TR/media-frags/", "value": fragment}
    return {"type": "SpecificResource", "source": canvas_url, "selector": selector}
