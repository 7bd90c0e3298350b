"""Draw two images next to each other, with their matched regions and lines between corresponding points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Point = tuple[float, float]
Region = tuple[int, int, int, int]

# Height of the images; images far from the shape of a page are lower. All lengths are in pixels of the picture.
_HEIGHT, _LEAST_HEIGHT, _WIDEST = 480, 160, 800
_MARGIN, _GAP, _LINE = 24, 72, 26
_LABEL, _CAPTION = 16, 20
_LONGEST_TEXT = 200
_BACKGROUND, _DARK, _LIGHT, _BORDER = (243, 240, 234), (42, 39, 35), (112, 106, 96), (222, 216, 204)
# A bright line on a dark one is visible on light and dark scans. The colours differ for colour-blind readers too.
_HALO: Colour = (20, 20, 20)
_REGION: Colour = (255, 200, 0)
_LINES: Sequence[Colour] = ((86, 180, 233), (255, 130, 60), (0, 200, 140), (240, 150, 210), (255, 255, 255))
# Places in the region whose corresponding points are joined: near its corners, not at equal height, and its centre.
_PLACES: Sequence[Point] = ((0.1, 0.08), (0.88, 0.16), (0.12, 0.84), (0.9, 0.92), (0.5, 0.5))


@dataclass(frozen=True)
class LabelledImage:
    """An image to draw.

    Attributes:
        picture: Image in RGB, at any scale.
        size: (width, height) in the pixels of ``region``.
        labels: Lines above the image.
        region: Matched region ``xywh``; None without one.
    """

    picture: Image.Image
    size: tuple[float, float]
    labels: Sequence[str]
    region: Region | None = None


def draw_pair(
    first: LabelledImage, second: LabelledImage, transform: Sequence[float] | None, caption: str
) -> Image.Image:
    """Draw two images at equal height.

    Args:
        first, second: Images to draw.
        transform: Affine transform ``(a, b, tx, c, d, ty)`` from pixels of the first image to pixels of the second;
            None to draw no lines.
        caption: Line below the images.
    """
    images = (first, second)
    sizes = _choose_sizes([image.size for image in images])
    top = _MARGIN + _LINE * max(len(image.labels) for image in images)
    height = max(size[1] for size in sizes)
    # Labels need some width, also above narrow images.
    widths = [max(size[0], _HEIGHT // 2) for size in sizes]
    sheet = Image.new("RGB", (2 * _MARGIN + _GAP + sum(widths), top + height + 3 * _MARGIN + _CAPTION), _BACKGROUND)
    draw, lefts = ImageDraw.Draw(sheet), (_MARGIN, _MARGIN + widths[0] + _GAP)
    corners = []
    for image, size, left, width in zip(images, sizes, lefts, widths, strict=True):
        x, y = left + (width - size[0]) // 2, top + (height - size[1]) // 2
        sheet.paste(image.picture.resize(size, Image.Resampling.LANCZOS), (x, y))
        draw.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=_BORDER)
        for number, label in enumerate(image.labels):
            text = _shorten(label, _load_font(_LABEL), width)
            draw.text((left, _MARGIN + number * _LINE), text, _LIGHT if number else _DARK, _load_font(_LABEL))
        corners.append((x, y))
    places = [
        _Place(corner, size[0] / image.size[0], size[1] / image.size[1])
        for image, size, corner in zip(images, sizes, corners, strict=True)
    ]
    for image, place in zip(images, places, strict=True):
        if image.region:
            _draw_region(draw, place, image.region)
    if first.region and transform:
        _draw_lines(draw, places, first.region, second.size, transform)
    text = _shorten(caption, _load_font(_CAPTION), sheet.width - 2 * _MARGIN)
    draw.text((sheet.width // 2, top + height + 2 * _MARGIN), text, _DARK, _load_font(_CAPTION), "mm")
    return sheet


@dataclass(frozen=True)
class _Place:
    """The place of an image on the sheet: its upper left corner, and its scale in both directions."""

    corner: Point
    x: float
    y: float

    def map(self, point: Point) -> Point:
        return self.corner[0] + point[0] * self.x, self.corner[1] + point[1] * self.y


def _choose_sizes(sizes: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """Return the drawn sizes: of equal height, except for a strip next to an image of another shape."""
    heights = [min(_HEIGHT, _WIDEST * height / width) for width, height in sizes]
    if min(heights) >= _LEAST_HEIGHT:
        heights = [min(heights)] * len(heights)
    return [
        (max(1, round(height * size[0] / size[1])), max(1, round(height)))
        for size, height in zip(sizes, heights, strict=True)
    ]


def _draw_region(draw: ImageDraw.ImageDraw, place: _Place, region: Region) -> None:
    x, y, w, h = region
    (left, top), (right, bottom) = place.map((x, y)), place.map((x + w, y + h))
    for colour, grow in (_HALO, 1), (_REGION, 0):
        box = (left - grow, top - grow, max(left, right) + grow, max(top, bottom) + grow)
        draw.rectangle(box, outline=colour, width=3 + 2 * grow)


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    places: Sequence[_Place],
    region: Region,
    size: tuple[float, float],
    transform: Sequence[float],
) -> None:
    """Join points of the region to the corresponding points of the second image, as far as they lie on it."""
    x, y, w, h = region
    for (across, down), colour in zip(_PLACES, _LINES, strict=True):
        point = (x + across * w, y + down * h)
        other = apply(transform, point)
        if not (0 <= other[0] <= size[0] and 0 <= other[1] <= size[1]):
            continue
        ends = [place.map(each) for place, each in zip(places, (point, other), strict=True)]
        for ink, width, radius in (_HALO, 5, 6), (colour, 3, 5):
            draw.line(ends, ink, width)
            for end in ends:
                draw.circle(end, radius, ink)


def apply(transform: Sequence[float], point: Point) -> Point:
    """Return a point after an affine transform ``(a, b, tx, c, d, ty)``."""
    a, b, tx, c, d, ty = transform
    return a * point[0] + b * point[1] + tx, c * point[0] + d * point[1] + ty


def describe_transform(transform: Sequence[float]) -> str:
    """Return how a transform turns an image: ``mirrored``, ``turned by 90°``, both or ""."""
    a, b, _, c, d, _ = transform
    mirrored = a * d - b * c < 0
    if mirrored:  # the angle after left and right are swapped
        a, c = -a, -c
    angle = round(math.degrees(math.atan2(c - b, a + d)) / 10) * 10
    # Smaller angles come from the scan.
    words = ["mirrored"] * mirrored + [f"turned by {abs(angle)}°"] * (abs(angle) >= 20)
    return " and ".join(words)


def _shorten(text: str, font: Font, width: int) -> str:
    """Return a text that fits a width, in printable characters. The middle of a longer text is left out."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    kept, short = len(text), text
    while kept > 2 and (len(short) > _LONGEST_TEXT or font.getlength(short) > width):
        kept -= max(1, kept // 10)
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def _load_font(size: int) -> Font:
    return ImageFont.load_default(size)
