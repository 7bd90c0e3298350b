"""Pictures of results as PNG: pages with their boxes, contact sheets of pages, and sheets of pairs of images."""

import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from app.command_line.documents import Document
from app.command_line.workspace import write_result
from app.detection.annotations import AnnotatedPage, PageStatus
from app.images.overlays import FOUND, DrawnBox, Layer, draw_layer
from app.images.pixels import UNREADABLE, load_reduced

# Longer side of an overlay, in pixels.
_LONGEST = 1000
# A contact sheet: columns and rows, and the size of the page in each cell, in pixels.
_COLUMNS, _ROWS = 6, 4
_CELL = (220, 280)
_GAP, _LABEL = 16, 13
_BACKGROUND, _MISSING, _DARK, _RED = "#f3f0ea", "#ded8cc", "#2a2723", "#b02020"
# Width of a pair on its sheet, and of the margin for its rank, in pixels.
_PAIRS_WIDTH, _MARGIN = 760, 56


def draw_document(document: Document, folder: Path, report: Callable[[int, int], None]) -> list[str]:
    """Draw the pages of a document with their boxes; return the names of the files.

    ``overlays/`` has each page with illustrations. The contact sheets have all pages, also the failed ones.

    Args:
        document: Document that is detected.
        folder: Folder for the pictures. Those of an earlier run are removed.
        report: Called with the numbers of drawn and of all pages.
    """
    overlays = folder / "overlays"
    shutil.rmtree(overlays, ignore_errors=True)
    for old in folder.glob("contact-sheet-*.png"):
        old.unlink()
    files = {page.number: page.file for page in document.load_fetched()}
    names = []
    pages = document.load_pages()
    for number, start in enumerate(range(0, len(pages), _COLUMNS * _ROWS), 1):
        cells = []
        for page in pages[start : start + _COLUMNS * _ROWS]:
            picture = _draw_page(page, document.images / str(files.get(page.number)))
            if picture and page.boxes:
                overlays.mkdir(exist_ok=True)
                _save(picture, overlays / f"{page.number:04d}.png")
            cells.append(_draw_cell(page, picture))
            report(start + len(cells), len(pages))
        names.append(f"contact-sheet-{number:03d}.png")
        _save(_arrange(cells), folder / names[-1])
    return [*names, *(["overlays/"] if overlays.exists() else [])]


def draw_pair_sheet(pictures: Iterable[Image.Image], path: Path) -> None:
    """Draw pictures of pairs below each other, each with its rank."""
    rows = []
    for rank, picture in enumerate(pictures, 1):
        drawn = picture.resize((_PAIRS_WIDTH, max(1, round(picture.height * _PAIRS_WIDTH / picture.width))))
        row = Image.new("RGB", (_MARGIN + _PAIRS_WIDTH, drawn.height), "white")
        row.paste(drawn, (_MARGIN, 0))
        ImageDraw.Draw(row).text((0, _GAP), str(rank), _DARK, ImageFont.load_default(26))
        rows.append(row)
    height = sum(row.height + _GAP for row in rows) + _GAP
    sheet, top = Image.new("RGB", (_MARGIN + _PAIRS_WIDTH + 2 * _GAP, height), "white"), _GAP
    for row in rows:
        sheet.paste(row, (_GAP, top))
        top += row.height + _GAP
    _save(sheet, path)


def _draw_page(page: AnnotatedPage, path: Path) -> Image.Image | None:
    """Return a page with its boxes at a reduced size; None if it failed, or its image was removed."""
    if page.status is PageStatus.FAILED or not page.width or not page.height:
        return None
    try:
        picture = load_reduced(path, _LONGEST)
    except UNREADABLE:
        return None
    across, down = picture.width / page.width, picture.height / page.height
    has_classes = len({box.class_name for box in page.boxes}) > 1
    boxes = []
    for box in page.boxes:
        x, y, w, h = box.xywh
        label = f"{box.class_name} {box.confidence:.2f}" if has_classes else f"{box.confidence:.2f}"
        boxes.append(DrawnBox((x * across, y * down, (x + w) * across, (y + h) * down), label))
    draw_layer(picture, Layer(boxes, FOUND, max(2, round(max(picture.size) / 300))))
    return picture


def _draw_cell(page: AnnotatedPage, picture: Image.Image | None) -> Image.Image:
    """Return the cell of a page on a contact sheet: its picture, its number, its name and its boxes."""
    cell = Image.new("RGB", (_CELL[0], _CELL[1] + 3 * _LABEL), _BACKGROUND)
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(_LABEL)
    if picture is None:
        draw.rectangle((0, 0, _CELL[0] - 1, _CELL[1] - 1), _MISSING)
        draw.text((_CELL[0] / 2, _CELL[1] / 2), "failed", _RED, ImageFont.load_default(24), "mm")
    else:
        small = picture.copy()
        small.thumbnail(_CELL, Image.Resampling.LANCZOS)
        cell.paste(small, ((_CELL[0] - small.width) // 2, _CELL[1] - small.height))
    found = f"{len(page.boxes)} found" if page.boxes else page.status
    draw.text((0, _CELL[1] + 3), _shorten(f"{page.number}  {found}", font), _DARK, font)
    draw.text((0, _CELL[1] + 3 + 1.3 * _LABEL), _shorten(page.image_name, font), _DARK, font)
    return cell


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    short = text
    while font.getlength(short) > _CELL[0] and len(text) > 2:
        text = text[:-1]
        short = f"{text}…"
    return short


def _arrange(cells: Sequence[Image.Image]) -> Image.Image:
    columns, rows = min(_COLUMNS, len(cells)), -(-len(cells) // _COLUMNS)
    width, height = (side + _GAP for side in cells[0].size)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _BACKGROUND)
    for number, cell in enumerate(cells):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(cell, (_GAP + column * width, _GAP + row * height))
    return sheet


def _save(picture: Image.Image, path: Path) -> None:
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_result(path, content.getvalue())
