"""Labels in XML: of one image (Pascal VOC, LabelMe on the web) or of many (CVAT for images).

<annotation>                                       http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf
    <filename> <size><width> <height>
    <object><name> <bndbox><xmin> <ymin> <xmax> <ymax>      or <polygon><pt><x> <y> of LabelMe
<annotations>                                      https://docs.cvat.ai/docs/manual/advanced/xml_format/
    <image name width height>
        <box label xtl ytl xbr ybr>, <polygon label points="x,y;x,y;…">, <mask …>, <ellipse …>
"""

import math
from collections.abc import Iterator
from xml.etree import ElementTree as Tree

from app.errors import RequestError
from app.training.label_formats.pixel_labels import AnnotatedImage, find_bounds, read_number, read_size, scale_box
from app.training.label_formats.yolo import Edges, LabelledBox


def parse_xml(data: bytes, name: str) -> list[AnnotatedImage]:
    """Return the labels of all images; [] if the file is XML of another kind, such as ALTO or PAGE.

    Args:
        data: Content of the file.
        name: Name of the file, for error messages.

    Raises:
        RequestError: If the file is not valid XML, or an object lacks a value or extends beyond its page.
    """
    # Entities can make a small file very large in memory; no annotation tool writes a document type or UTF-16.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        return []
    try:
        root = Tree.fromstring(data)  # noqa: S314 (no entities, see above)
    except (Tree.ParseError, ValueError, LookupError) as error:
        raise RequestError(f"{name} is not valid XML: export the labels again.") from error
    if root.tag == "annotation":
        return [_parse_voc(root, name)]
    if root.tag == "annotations":
        return [_parse_cvat(image, name) for image in root.iter("image")]
    return []


def _parse_voc(root: Tree.Element, name: str) -> AnnotatedImage:
    boxes: list[LabelledBox | None] = []
    for n, shape in enumerate(root.findall("object"), 1):
        place = f"{name}, object {n}"
        if shape.findtext("deleted") == "1":
            continue
        size = read_size(
            root.findtext("size/width") or root.findtext("imagesize/ncols"),
            root.findtext("size/height") or root.findtext("imagesize/nrows"),
            name,
        )
        class_name = (shape.findtext("name") or "").strip()
        boxes.append(scale_box(_check_name(class_name, place), _find_voc_edges(shape, place), size, place))
    return AnnotatedImage((root.findtext("filename") or "").strip(), [box for box in boxes if box])


def _find_voc_edges(shape: Tree.Element, place: str) -> Edges:
    box = shape.find("bndbox")
    if box is not None:
        left, top, right, bottom = (read_number(box.findtext(key), place) for key in ("xmin", "ymin", "xmax", "ymax"))
        return left, top, right, bottom
    points = [(read_number(p.findtext("x"), place), read_number(p.findtext("y"), place)) for p in shape.iter("pt")]
    if not points:
        raise RequestError(f"{place}: there is no bndbox; correct or remove it.")
    return find_bounds(points)


def _parse_cvat(image: Tree.Element, name: str) -> AnnotatedImage:
    file_name = image.get("name", "")
    place = f"{name}, image {file_name[:100]!r}"
    boxes: list[LabelledBox | None] = []
    for shape, edges in _find_cvat_shapes(image, place):
        size = read_size(image.get("width"), image.get("height"), place)
        boxes.append(scale_box(_check_name(shape.get("label", "").strip(), place), edges, size, place))
    return AnnotatedImage(file_name, [box for box in boxes if box])


def _find_cvat_shapes(image: Tree.Element, place: str) -> Iterator[tuple[Tree.Element, Edges]]:
    """Yield the shapes that cover an area; tags, points and lines do not."""
    for shape in image:
        if shape.tag == "box":
            left, top, right, bottom = (read_number(shape.get(key), place) for key in ("xtl", "ytl", "xbr", "ybr"))
            angle = math.radians(read_number(shape.get("rotation", 0), place))
            yield shape, _rotate((left, top, right, bottom), angle)
        elif shape.tag == "ellipse":
            x, y, across, down = (read_number(shape.get(key), place) for key in ("cx", "cy", "rx", "ry"))
            yield shape, (x - across, y - down, x + across, y + down)
        elif shape.tag == "mask":
            left, top, width, height = (
                read_number(shape.get(key), place) for key in ("left", "top", "width", "height")
            )
            yield shape, (left, top, left + width, top + height)
        elif shape.tag == "polygon":
            pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
            if not all(len(pair) == 2 for pair in pairs):
                raise RequestError(f"{place}: the points of a polygon are not x,y;x,y; correct or remove it.")
            yield shape, find_bounds([(read_number(x, place), read_number(y, place)) for x, y in pairs])


def _rotate(edges: Edges, angle: float) -> Edges:
    """Return the bounding box of a box that is rotated around its centre."""
    left, top, right, bottom = edges
    across, down = (right - left) / 2, (bottom - top) / 2
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    x, y = (left + right) / 2, (top + bottom) / 2
    half_width, half_height = across * cosine + down * sine, across * sine + down * cosine
    return x - half_width, y - half_height, x + half_width, y + half_height


def _check_name(name: str, place: str) -> str:
    if not name:
        raise RequestError(f"{place}: an object has no class name; correct or remove it.")
    return name
