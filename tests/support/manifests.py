"""Small documents with one special feature, and helpers to parse them."""

import json
from typing import Any

from app.config import ROOT
from app.errors import ManifestError
from app.iiif.canvas import Canvas, CanvasImage
from app.iiif.manifest import Manifest, parse_document

URL = "https://library.example/ms/manifest.json"
BASE = "https://library.example"
REAL = ROOT.parent / "shared" / "manifests"
IMAGE = {"id": f"{BASE}/scan.png", "type": "Image", "width": 300, "height": 400}
SERVICE = {"id": f"{BASE}/iiif/1", "type": "ImageService3", "profile": "level1"}
NO_IMAGE = "The manifest has no image on this canvas."


def parse_manifest(data: bytes, url: str = URL, max_canvases: int = 5000) -> Manifest:
    document = parse_document(data, url, max_canvases)
    if not isinstance(document, Manifest):
        raise ManifestError(f"{url} is a collection.")
    return document


def parse(document: Any, max_canvases: int = 5000) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), URL, max_canvases)


def parse_body(body: Any, motivation: Any = "painting") -> Canvas:
    """Return the canvas of a Presentation 3 manifest with one painting annotation."""
    annotation = {"type": "Annotation", "motivation": motivation, "body": body}
    return parse({"type": "Manifest", "items": [{"type": "Canvas", "items": [{"items": [annotation]}]}]}).canvases[0]


def parse_resource(resource: Any) -> Canvas:
    """Return the canvas of a Presentation 2 manifest with one image resource."""
    canvas = {"@type": "sc:Canvas", "images": [{"@type": "oa:Annotation", "resource": resource}]}
    return parse({"@type": "sc:Manifest", "sequences": [{"canvases": [canvas]}]}).canvases[0]


def urls_of(canvas: Canvas) -> list[str]:
    return [image.url for image in canvas.images]


def build_image(name: str) -> dict[str, Any]:
    return {"id": f"{BASE}/{name}.jpg", "type": "Image"}


def image_of(canvas: Canvas) -> CanvasImage:
    assert canvas.image is not None, canvas.reason
    return canvas.image
