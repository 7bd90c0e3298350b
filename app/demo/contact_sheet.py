"""Pictures of results: pages with their annotations, and pairs of illustrations next to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from app.images.overlays import FOUND, TRUE, Colour, DrawnBox, Layer, draw_layer
from app.images.pixels import decode_picture

Box = tuple[int, int, int, int]

_GAP = 24

# The sheet of pairs, in pixels.
_WIDTH = 1200
_MARGIN = 40
_HEADER = 156
_CARD = 304
_CARD_GAP = 18
_ACCENT = 10
_PICTURE = (388, 236)
_RANK_LEFT, _PICTURES_LEFT, _TEXT_LEFT = 30, (76, 484), 904
_BACKGROUND, _CARD_COLOUR, _BORDER = "#f3f0ea", "#ffffff", "#ded8cc"
_DARK, _LIGHT = "#2a2723", "#7a746a"
NEUTRAL: Colour = (150, 144, 132)


def parse_annotations(text: str) -> dict[str, list[Box]]:
    """Return the boxes ``x y w h`` in an annotation file, by image name, in full-size pixels."""
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
    """Write a PNG that shows all annotated pages with their boxes, each scaled to a height in pixels."""
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
    with path.open("rb") as file:
        image, _ = decode_picture(file)
    factor = height / image.height
    page = image.resize((round(image.width * factor), height), Image.Resampling.LANCZOS)
    corners = [(x * factor, y * factor, (x + w) * factor, (y + h) * factor) for x, y, w, h in boxes]
    draw_layer(page, Layer([DrawnBox(each) for each in corners], FOUND, width=4))
    return page


@dataclass(frozen=True)
class PairCard:
    """A pair of illustrations on the sheet.

    Attributes:
        rank: Text at the left, such as the rank.
        images: Both illustrations, in RGB.
        captions: Names of both illustrations.
        score: Text of the score.
        notes: Lines below the score.
        colour: Colour of the mark at the edge and of the first note.
    """

    rank: str
    images: tuple[Image.Image, Image.Image]
    captions: tuple[str, str]
    score: str
    notes: Sequence[str]
    colour: Colour = TRUE


def draw_pairs(title: str, subtitle: str, headings: tuple[str, str], cards: Sequence[PairCard], output: Path) -> None:
    """Write a PNG, 1200 pixels wide, with one row per pair and a heading above each column of images."""
    height = _HEADER + len(cards) * (_CARD + _CARD_GAP) + _MARGIN - _CARD_GAP
    sheet = Image.new("RGB", (_WIDTH, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 58), title, _DARK, _load_font(36), "ls")
    draw.text((_MARGIN, 96), subtitle, _LIGHT, _load_font(21), "ls")
    for left, heading in zip(_PICTURES_LEFT, headings, strict=True):
        draw.text((_MARGIN + left + _PICTURE[0] // 2, _HEADER - 14), heading, _DARK, _load_font(21), "ms")
    for number, card in enumerate(cards):
        _draw_card(sheet, card, _HEADER + number * (_CARD + _CARD_GAP))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output)


def _draw_card(sheet: Image.Image, card: PairCard, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    right, bottom = _WIDTH - _MARGIN, top + _CARD
    draw.rectangle((_MARGIN, top, right - 1, bottom - 1), _CARD_COLOUR, _BORDER)
    draw.rectangle((_MARGIN, top, _MARGIN + _ACCENT - 1, bottom - 1), card.colour)
    middle = top + 20 + _PICTURE[1] // 2
    draw.text((_MARGIN + _RANK_LEFT, middle), card.rank, _LIGHT, _load_font(30), "lm")
    for left, image, caption in zip(_PICTURES_LEFT, card.images, card.captions, strict=True):
        _paste_centred(sheet, image, (_MARGIN + left, top + 20))
        draw.text((_MARGIN + left + _PICTURE[0] // 2, bottom - 16), caption, _LIGHT, _load_font(17), "ms")
    x = _MARGIN + _TEXT_LEFT
    draw.text((x, middle - 14), card.score, _DARK, _load_font(46), "ls")
    for number, note in enumerate(card.notes):
        draw.text((x, middle + 22 + 28 * number), note, _LIGHT if number else card.colour, _load_font(20), "ls")


def _paste_centred(sheet: Image.Image, image: Image.Image, corner: tuple[int, int]) -> None:
    factor = min(_PICTURE[0] / image.width, _PICTURE[1] / image.height)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    left, top = (place + (room - side) // 2 for place, room, side in zip(corner, _PICTURE, size, strict=True))
    sheet.paste(image.resize(size, Image.Resampling.LANCZOS), (left, top))


def _load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
