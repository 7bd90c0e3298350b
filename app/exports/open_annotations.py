"""Annotation lists of IIIF Presentation 2 (https://iiif.io/api/presentation/2.1/#annotation-list), in canvas units."""

import json
from typing import Any

from app.exports.document import ExportedDocument, ExportedPage
from app.exports.web_annotations import build_bodies
from app.iiif.image_api import Box

CONTEXT = "http://iiif.io/api/presentation/2/context.json"


def format_layer(document: ExportedDocument) -> str:
    """Return a layer with an annotation list for each canvas.

    An empty page has a list without resources. A failed page has no list.
    """
    layer_id = f"{document.address}/annotations?format=iiif2"
    layer = {
        "@context": CONTEXT,
        "@id": layer_id,
        "@type": "sc:Layer",
        "label": document.ref,
        "otherContent": [_build_list(document, page, layer_id) for page in document.processed],
    }
    return json.dumps(layer)


def _build_list(document: ExportedDocument, page: ExportedPage, layer_id: str) -> dict[str, Any]:
    list_id = f"{document.address}/lists/{page.record.number}"
    resources = []
    for number, box in enumerate(page.boxes, 1):
        tag, *texts = build_bodies(box)
        resources.append(
            {
                "@id": f"{list_id}/{number}",
                "@type": "oa:Annotation",
                "motivation": ["oa:tagging"],
                "resource": [
                    {"@type": "oa:Tag", "chars": tag},
                    *({"@type": "dctypes:Text", "format": "text/plain", "chars": text} for text in texts),
                ],
                "on": build_target(page.canvas_url, page.scale_to_canvas(box)),
            }
        )
    return {
        "@context": CONTEXT,
        "@id": list_id,
        "@type": "sc:AnnotationList",
        "label": page.record.image_name,
        "within": layer_id,
        "resources": resources,
    }


def build_target(canvas_url: str, xywh: Box) -> str | dict[str, Any]:
    """Return a region of a canvas. A URL that has a fragment itself needs the longer form."""
    fragment = f"xywh={','.join(map(str, xywh))}"
    if "#" not in canvas_url:
        return f"{canvas_url}#{fragment}"
    selector = {"@type": "oa:FragmentSelector", "value": fragment}
    return {"@type": "oa:SpecificResource", "full": canvas_url, "selector": selector}
