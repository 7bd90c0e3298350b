"""Annotation files as pictures: the pages of a document side by side, each with its boxes."""

from pathlib import Path

from PIL import Image

from app.images.overlays import FOUND, DrawnBox, Layer, draw_layer

Box = tuple[int, int, int, int]

_GAP = 24


def parse_annotations(text: str) -> dict[str, list[Box]]:
    """Read an annotation file → the boxes ``x y w h`` of each image by name, in full-size pixels."""
    pages: dict[str, list[Box]] = {}
    name = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4:
            pages[name].append((int(words[0]), int(words[1]), int(words[2]), int(words[3])))
        else:
            name = line.partition(" ")[2]
            pages[name] = []
    return pages


def draw_overlay(annotations: str, images: Path, output: Path, height: int = 900) -> None:
    """Write one PNG with every annotated page, scaled to a height in pixels, and its boxes."""
    pages = [_draw_page(images / name, boxes, height) for name, boxes in parse_annotations(annotations).items()]
    width = sum(page.width for page in pages) + _GAP * (len(pages) + 1)
    sheet = Image.new("RGB", (width, height + 2 * _GAP), "white")
    left = _GAP
    for page in pages:
        sheet.paste(page, (left, _GAP))
        left += page.width + _GAP
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output)


def _draw_page(path: Path, boxes: list[Box], height: int) -> Image.Image:
    with Image.open(path) as image:
        factor = height / image.height
        page = image.convert("RGB").resize((round(image.width * factor), height), Image.Resampling.LANCZOS)
    corners = [(x * factor, y * factor, (x + w) * factor, (y + h) * factor) for x, y, w, h in boxes]
    draw_layer(page, Layer([DrawnBox(each) for each in corners], FOUND, width=4))
    return page
