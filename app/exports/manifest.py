"""A manifest of IIIF Presentation 3 with the annotations of a job, for viewers.

It is built from the records, so it is valid whatever the version and the faults of the library's manifest. It keeps the
label, the metadata, the rights and the canvas IDs of that manifest. Its canvases show the first image.
"""

import json
import re
from mimetypes import guess_type
from typing import Any

from app.detection.annotations import PageStatus
from app.exports.document import ExportedDocument, ExportedPage
from app.exports.web_annotations import CONTEXT, build_page
from app.iiif.canvas import CanvasImage
from app.iiif.json_ld import is_web_address, read_objects, read_path, read_strings, read_texts

_DIRECTIONS = ("left-to-right", "right-to-left", "top-to-bottom", "bottom-to-top")
# The only values that Presentation 3 permits, all with http: https://iiif.io/api/presentation/3.0/#rights
_RIGHTS = re.compile(r"https?://(creativecommons\.org/(licenses|publicdomain)/|rightsstatements\.org/vocab/)\S+")


def format_manifest(document: ExportedDocument) -> str:
    """Return the manifest of a document.

    An empty page has an annotation page without items. A failed page has none, and a summary that says why.
    """
    manifest = {
        "@context": CONTEXT,
        "id": f"{document.address}/manifest.json{document.query}",
        "type": "Manifest",
        **_describe(document),
        "items": [build_canvas(document, page) for page in document.pages],
    }
    return json.dumps(manifest)


def build_canvas(document: ExportedDocument, page: ExportedPage) -> dict[str, Any]:
    """Return the canvas of a page with its image and its annotations.

    If the image does not cover a canvas of its size, it gets a canvas of this job. Mirador would misplace its
    annotations: it takes canvas units for image pixels.
    """
    own, record = f"{document.address}/canvas/{page.record.number}", page.record
    if page.place != (0, 0, *page.image_size):
        page = page.move_to_canvas(own, page.image_size)
    if record.status is PageStatus.FAILED:
        reason = f"This page was not searched for illustrations: {record.reason}"
        more: dict[str, Any] = {"summary": {"en": [reason]}}
    else:
        more = {"annotations": [build_page(document, page)]}
    return (
        build_plain_canvas(
            page.canvas_url, own, page.label or {"none": [str(record.number)]}, page.canvas_size, _build_image(page)
        )
        | more
    )


def build_plain_canvas(
    canvas_id: str, own: str, label: Any, size: tuple[int, int], image: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a canvas with at most one image.

    Args:
        canvas_id: ID of the canvas.
        own: URL with which the IDs of its parts start.
        label: Label by language.
        size: (width, height) in canvas units.
        image: Image resource, or None.
    """
    painting = {
        "id": f"{own}/image",
        "type": "Annotation",
        "motivation": "painting",
        "body": image,
        "target": canvas_id,
    }
    return {
        "id": canvas_id,
        "type": "Canvas",
        "label": label,
        "width": size[0],
        "height": size[1],
        "items": [{"id": f"{own}/images", "type": "AnnotationPage", "items": [painting]}] if image else [],
    }


def _build_image(page: ExportedPage) -> dict[str, Any] | None:
    """Return the image resource of a page; None for a failed page without an image in the manifest."""
    if page.image is None and page.record.status is PageStatus.FAILED:
        return None
    width, height = page.image_size
    image: dict[str, Any] = {"id": page.image_url, "type": "Image", "width": width, "height": height}
    media_type, _ = guess_type(read_path(page.image_url))
    if media_type and media_type.startswith("image/"):
        image["format"] = media_type
    if page.image and (services := _build_service(page.image)):
        image["service"] = services
    return image


def _build_service(image: CanvasImage) -> list[dict[str, Any]]:
    """Return the image service in the form of Presentation 3; nothing if it may not exist."""
    service = image.service
    # A service that was derived from the URL of an image has level 0 and no size. A viewer could fail on it.
    if service is None or (service.level == 0 and image.width is None):
        return []
    if service.version == 3:
        return [{"id": service.id, "type": "ImageService3", "profile": f"level{service.level}"}]
    profile = f"http://iiif.io/api/image/2/level{service.level}.json"
    if service.version == 1:
        profile = f"http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level{service.level}"
    return [{"@id": service.id, "@type": f"ImageService{service.version}", "profile": profile}]


def _describe(document: ExportedDocument) -> dict[str, Any]:
    """Return the descriptive properties of the manifest, from either version of Presentation."""
    source = document.description
    metadata = [_read_pair(pair) for pair in read_objects(source.get("metadata"))]
    rights = next(iter(read_strings(source.get("rights")) + read_strings(source.get("license"))), "")
    found: dict[str, Any] = {"label": read_texts(source.get("label")) or {"none": [document.ref]}}
    if summary := read_texts(source.get("summary")) or read_texts(source.get("description")):
        found["summary"] = summary
    if rights and not _RIGHTS.fullmatch(rights):
        metadata.append(_build_pair("Rights", rights))
    elif rights:
        found["rights"] = re.sub("^https", "http", rights)
    if document.model:
        metadata.append(_build_pair("Illustrations detected by", document.model))
    statements = [_read_pair(pair) for pair in read_objects(source.get("requiredStatement"))]
    if attribution := read_texts(source.get("attribution")):
        statements.append({"label": {"en": ["Attribution"]}, "value": attribution})
    if complete := [pair for pair in statements if pair["label"] and pair["value"]]:
        found["requiredStatement"] = complete[0]
    if metadata := [pair for pair in metadata if pair["label"] and pair["value"]]:
        found["metadata"] = metadata
    if (direction := source.get("viewingDirection")) in _DIRECTIONS:
        found["viewingDirection"] = direction
    if is_web_address(document.source):
        found["seeAlso"] = [{"id": document.source, "type": "Manifest", "format": "application/ld+json"}]
    return found


def _read_pair(pair: dict[str, Any]) -> dict[str, Any]:
    return {"label": read_texts(pair.get("label")), "value": read_texts(pair.get("value"))}


def _build_pair(label: str, value: str) -> dict[str, Any]:
    return {"label": {"en": [label]}, "value": {"none": [value]}}
