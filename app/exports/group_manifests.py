"""Manifests of IIIF Presentation 3 for the groups of a similarity job: each image of a group is a canvas."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from app.exports.archive import format_zip
from app.exports.manifest import build_plain_canvas
from app.exports.web_annotations import CONTEXT, build_annotation

Sizes = Mapping[tuple[str, str], tuple[int, int]]


def format_archive(groups: Iterable[Mapping[str, Any]], sizes: Sizes, address: str) -> bytes:
    """Return a zip with a manifest for each group.

    Args:
        groups: Groups as in the answer of ``GET /jobs/<id>/groups``.
        sizes: (width, height) of the images in pixels, by document ID and name.
        address: URL of the job on this server; the IDs in the manifests start with it.
    """
    return format_zip(
        (f"group-{group['group']:05d}.json", _format_manifest(group, sizes, f"{address}/groups/{group['group']}"))
        for group in groups
    )


def _format_manifest(group: Mapping[str, Any], sizes: Sizes, address: str) -> bytes:
    canvases = [
        _build_canvas(member, sizes, f"{address}/canvas/{number}") for number, member in enumerate(group["members"], 1)
    ]
    manifest = {
        "@context": CONTEXT,
        "id": f"{address}/manifest.json",
        "type": "Manifest",
        "label": {"en": [f"Group {group['group']}: {group['size']} images that show the same block"]},
        "items": canvases,
    }
    return json.dumps(manifest).encode()


def _build_canvas(member: Mapping[str, Any], sizes: Sizes, canvas_id: str) -> dict[str, Any]:
    """Return the canvas of an image. Its annotation is the region that its partner also shows."""
    width, height = size = sizes[member["document"], member["name"]]
    image = {"id": member["url"], "type": "Image", "format": "image/jpeg", "width": width, "height": height}
    label = {"none": [f"{member['document']}: {member['name']}"]}
    canvas = build_plain_canvas(canvas_id, canvas_id, label, size, image)
    # The URL of a page without an image service shows the whole page, and not the image in which the region lies.
    if member["region"] and "#" not in member["url"]:
        partner = member["partner"]
        texts = [member["verdict"], f"as {partner['document']}: {partner['name']}, {member['probability']:.2f}"]
        annotation = build_annotation(f"{canvas_id}/annotations/1", texts, canvas_id, member["region"])
        canvas["annotations"] = [
            {"id": f"{canvas_id}/annotations", "type": "AnnotationPage", "items": [annotation]},
        ]
    return canvas
