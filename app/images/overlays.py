"""Draw boxes on pages, for visual inspection."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Corners = tuple[float, float, float, float]

# Distinguishable with red-green colour blindness: green is darker, and drawn with wider lines.
TRUE = (0, 158, 96)
FOUND = (224, 42, 42)

_TEXT = (30, 30, 30)


@dataclass(frozen=True)
class DrawnBox:
    """A box to draw: its corners ``x1 y1 x2 y2`` in pixels of the image, and its label."""

    xyxy: Corners
    label: str = ""


@dataclass(frozen=True)
class Layer:
    """Boxes that are drawn in one colour.

    Attributes:
        boxes: Boxes to draw.
        colour: Colour of the lines and labels, as RGB.
        width: Width of the lines, in pixels.
        title: Text in the legend.
    """

    boxes: Sequence[DrawnBox]
    colour: Colour
    width: int
    title: str = ""


def draw_layer(image: Image.Image, layer: Layer) -> None:
    """Draw boxes on an image, each with its label at the upper left corner."""
    draw, font = ImageDraw.Draw(image), _choose_font(image)
    for box in layer.boxes:
        left, top, right, bottom = box.xyxy
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=layer.colour, width=layer.width)
    for box in layer.boxes:
        if box.label:
            _write_label(draw, box, layer.colour, font)


def draw_comparison(
    page: Image.Image, truth: Sequence[DrawnBox], found: Sequence[DrawnBox], confidence: float
) -> Image.Image:
    """Return a copy of a page with the true boxes in green, the detected boxes in red, and a legend below."""
    width = max(2, round(max(page.size) / 400))
    layers = (
        Layer(truth, TRUE, 2 * width, f"true: {len(truth)}"),
        Layer(found, FOUND, width, f"found at confidence {confidence:g} or more: {len(found)}"),
    )
    drawn = page.copy()
    for layer in layers:
        draw_layer(drawn, layer)
    return _add_legend(drawn, layers)


def _choose_font(image: Image.Image) -> Font:
    return ImageFont.load_default(max(11, round(max(image.size) / 60)))


def _write_label(draw: ImageDraw.ImageDraw, box: DrawnBox, colour: Colour, font: Font) -> None:
    """Write the label of a box above its corner, or inside the box if there is no room above."""
    left, top, right, bottom = draw.textbbox((0, 0), box.label, font=font)
    pad = round((bottom - top) / 3)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0.0, min(box.xyxy[0], draw.im.size[0] - width))
    y = box.xyxy[1] - height if box.xyxy[1] >= height else box.xyxy[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + pad - left, y + pad - top), box.label, fill="white", font=font)


def _add_legend(image: Image.Image, layers: Sequence[Layer]) -> Image.Image:
    """Return a copy of an image with a legend of the layers below it."""
    font, size = _choose_font(image), max(11, round(max(image.size) / 60))
    widths = [3.5 * size + font.getlength(layer.title) for layer in layers]
    sheet = Image.new("RGB", (max(image.width, round(size + sum(widths))), image.height + 3 * size), "white")
    sheet.paste(image)
    draw, x, middle = ImageDraw.Draw(sheet), float(size), image.height + 1.5 * size
    for layer, width in zip(layers, widths, strict=True):
        draw.rectangle((x, middle - size / 2, x + size, middle + size / 2), outline=layer.colour, width=layer.width)
        draw.text((x + 1.5 * size, middle), layer.title, fill=_TEXT, font=font, anchor="lm")
        x += width
    return sheet
