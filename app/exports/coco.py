"""COCO JSON (https://cocodataset.org/#format-data): one file for all pages, in pixels of the full-size image.

Failed pages are not among the images, because an image without annotations is one without illustrations.
``info.failed`` lists them.
"""

import json
from typing import Any

from app.config import PRODUCT, VERSION
from app.exports.document import ExportedDocument, ExportedPage


def format_labels(document: ExportedDocument) -> str:
    """Return the labels. The ID of an image is its page number; the ID of a category is its class ID + 1.

    Categories and annotations start at 1, because several readers take 0 as "none".
    """
    annotations: list[dict[str, Any]] = []
    for page in document.processed:
        for box in page.boxes:
            x, y, w, h = box.xywh
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": page.record.number,
                    "category_id": box.class_id + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "iscrowd": 0,
                    "score": box.confidence,
                }
            )
    info = {
        "description": f"{document.ref}, detected by {document.model} with {PRODUCT} {VERSION}",
        "url": document.source,
        "date_created": document.created.isoformat(),
        "failed": [{"canvas_number": page.number, "reason": page.reason} for page in document.failed],
    }
    images = [_describe_image(page) for page in document.processed]
    categories = [{"id": class_id + 1, "name": name} for class_id, name in document.classes.items()]
    labels = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(labels)


def _describe_image(page: ExportedPage) -> dict[str, Any]:
    width, height = page.size
    return {
        "id": page.record.number,
        "file_name": page.file_name,
        "width": width,
        "height": height,
        "coco_url": page.image_url,
    }
