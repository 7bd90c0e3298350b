"""ALTO 4 (https://www.loc.gov/standards/alto/): a zip with a file for each page.

Each detection is an ``Illustration``, in pixels of the full-size image. It has a tag with its zone in the SegmOnto
vocabulary (https://segmonto.github.io/), and its class in the attribute ``TYPE``.
"""

from xml.etree import ElementTree as Tree

from app.config import PRODUCT, VERSION
from app.exports.archive import XSI, clean_text, format_page_files, format_xml
from app.exports.document import ExportedDocument, ExportedPage

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
_SCHEMA = f"{NAMESPACE} http://www.loc.gov/standards/alto/v4/alto-4-4.xsd"
# Zone of a class whose name contains a word. Every other class is a GraphicZone.
_ZONES = {
    "initial": "DropCapitalZone",
    "drop": "DropCapitalZone",
    "lettrine": "DropCapitalZone",
    "stamp": "StampZone",
    "seal": "SealZone",
    "table": "TableZone",
    "music": "MusicZone",
}
DEFAULT_ZONE = "GraphicZone"


def format_archive(document: ExportedDocument) -> bytes:
    """Return a zip with an ALTO file for each page."""
    return format_page_files(document, _format_page)


def find_zone(class_name: str) -> str:
    """Return the zone of a class in the SegmOnto vocabulary."""
    return next((zone for word, zone in _ZONES.items() if word in class_name.lower()), DEFAULT_ZONE)


def _format_page(document: ExportedDocument, page: ExportedPage) -> bytes:
    root = Tree.Element("alto", {"xmlns": NAMESPACE, "xmlns:xsi": XSI, "xsi:schemaLocation": _SCHEMA})
    _describe(Tree.SubElement(root, "Description"), document, page)
    zones = {zone: f"zone{n}" for n, zone in enumerate(sorted({find_zone(b.class_name) for b in page.boxes}), 1)}
    if zones:
        tags = Tree.SubElement(root, "Tags")
        for zone, tag_id in zones.items():
            Tree.SubElement(tags, "OtherTag", {"ID": tag_id, "LABEL": zone, "DESCRIPTION": f"block type {zone}"})
    size = {name: str(length) for name, length in zip(("WIDTH", "HEIGHT"), page.size, strict=True)}
    number = str(page.record.number)
    sheet = Tree.SubElement(Tree.SubElement(root, "Layout"), "Page", {"ID": "page1", "PHYSICAL_IMG_NR": number, **size})
    space = Tree.SubElement(sheet, "PrintSpace", {"HPOS": "0", "VPOS": "0", **size})
    for n, box in enumerate(page.boxes, 1):
        place = dict(zip(("HPOS", "VPOS", "WIDTH", "HEIGHT"), map(str, box.xywh), strict=True))
        names = {"TYPE": clean_text(box.class_name), "TAGREFS": zones[find_zone(box.class_name)]}
        Tree.SubElement(space, "Illustration", {"ID": f"block{n}", **names, **place})
    return format_xml(root)


def _describe(description: Tree.Element, document: ExportedDocument, page: ExportedPage) -> None:
    Tree.SubElement(description, "MeasurementUnit").text = "pixel"
    source = Tree.SubElement(description, "sourceImageInformation")
    Tree.SubElement(source, "fileName").text = clean_text(page.file_name)
    Tree.SubElement(source, "fileIdentifier").text = clean_text(page.image_url)
    step = Tree.SubElement(description, "Processing", {"ID": "processing1"})
    Tree.SubElement(step, "processingDateTime").text = document.created.isoformat()
    Tree.SubElement(step, "processingStepSettings").text = clean_text(document.model)
    software = Tree.SubElement(step, "processingSoftware")
    Tree.SubElement(software, "softwareName").text = PRODUCT
    Tree.SubElement(software, "softwareVersion").text = VERSION
