"""PAGE XML 2019-07-15 (https://github.com/PRImA-Research-Lab/PAGE-XML): a zip with a file for each page.

Each detection is a ``GraphicRegion``, in pixels of the full-size image. Its class is in the attribute ``custom``, as
Transkribus, eScriptorium and kraken write and read it.
"""

import re
from xml.etree import ElementTree as Tree

from app.config import PRODUCT, VERSION
from app.detection.annotations import BoxRecord
from app.exports.archive import XSI, clean_text, format_page_files, format_xml
from app.exports.document import ExportedDocument, ExportedPage

NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
_SCHEMA = f"{NAMESPACE} {NAMESPACE}/pagecontent.xsd"


def format_archive(document: ExportedDocument) -> bytes:
    """Return a zip with a PAGE file for each page."""
    return format_page_files(document, _format_page)


def _format_page(document: ExportedDocument, page: ExportedPage) -> bytes:
    root = Tree.Element("PcGts", {"xmlns": NAMESPACE, "xmlns:xsi": XSI, "xsi:schemaLocation": _SCHEMA})
    metadata = Tree.SubElement(root, "Metadata")
    Tree.SubElement(metadata, "Creator").text = clean_text(f"{PRODUCT} {VERSION} {document.model}".strip())
    for name in ("Created", "LastChange"):
        Tree.SubElement(metadata, name).text = document.created.isoformat()
    width, height = page.size
    size = {"imageWidth": str(width), "imageHeight": str(height)}
    body = Tree.SubElement(root, "Page", {"imageFilename": clean_text(page.file_name), **size})
    for number, box in enumerate(page.boxes, 1):
        _add_region(body, f"r{number}", box)
    return format_xml(root)


def _add_region(body: Tree.Element, region_id: str, box: BoxRecord) -> None:
    # The characters ; : { } separate the parts of the attribute.
    class_name = re.sub(r"[;:{}\s]+", " ", clean_text(box.class_name)).strip()
    region = Tree.SubElement(
        body, "GraphicRegion", {"id": region_id, "custom": f"structure {{type:{class_name or 'graphic'};}}"}
    )
    x, y, w, h = box.xywh
    corners = (x, y), (x + w, y), (x + w, y + h), (x, y + h)
    points = " ".join(f"{x},{y}" for x, y in corners)
    Tree.SubElement(region, "Coords", {"points": points, "conf": f"{box.confidence:g}"})
