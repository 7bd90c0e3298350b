"""A page of the sample document: set text and woodcuts on it, and make a scan of it."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, features

from bench.sample.woodcut import Block, box, noise

WIDTH, HEIGHT, TEXT_WIDTH, LEADING = 1800, 2500, 1200, 60  # pixels
LINES, BODY = 33, 46  # number of text lines on a page, and their font size in pixels
LIGATURES = ["dlig"] if features.check("raqm") else None


class Page:
    """A page that is being set. All coordinates are in pixels.

    Attributes:
        number: Page number, starting at 1; odd pages are rectos.
        font: Font file of the text.
        rng: Random generator.
        left: Left edge of the text.
        middle: Horizontal centre of the text.
        right: Right edge of the text.
        ink: Printed ink as a greyscale image; 255 is full ink.
        corners: Corners of each woodcut, ``(4, 2)``.
    """

    def __init__(self, number: int, font: Path, rng: np.random.Generator) -> None:
        """Start an empty page; all pages but the first get a running head and a page number."""
        self.number, self.font, self.rng = number, font, rng
        self.left = 270 if number % 2 else 330
        self.middle, self.right = self.left + TEXT_WIDTH / 2, self.left + TEXT_WIDTH
        self.ink = Image.new("L", (WIDTH, HEIGHT))
        self.corners: list[np.ndarray] = []
        if number > 1:
            self.write("SPECVLI NATVRÆ" if number % 2 else "IOANNIS DE MACHINA", self.middle, 220, 40)
            self.write(str(number), *((self.right, 220, 44, "rs") if number % 2 else (self.left, 220, 44, "ls")))

    def load_font(self, size: int, italic: bool = False) -> ImageFont.FreeTypeFont:
        """Return the font at a size in pixels."""
        name = self.font.name.replace("Regular", "Italic") if italic else self.font.name
        return ImageFont.truetype(self.font.with_name(name), size)

    def write(self, text: str, x: float, y: float, size: int, anchor: str = "ms", italic: bool = False) -> None:
        """Print a piece of text, with a small random vertical offset.

        Args:
            text: Text in its final spelling.
            x: Horizontal position of the anchor.
            y: Vertical position of the anchor.
            size: Font size in pixels.
            anchor: Anchor of the text, as Pillow names it.
            italic: Whether the text is italic.
        """
        spot = (x, y + self.rng.normal(0, 0.8))
        ImageDraw.Draw(self.ink).text(spot, text, 255, self.load_font(size, italic), anchor, features=LIGATURES)

    def note(self, text: str, y: float) -> None:
        """Print a note in the outer margin; "/" starts a new line."""
        x, anchor = (self.right + 28, "ls") if self.number % 2 else (self.left - 28, "rs")
        for k, row in enumerate(spell(text).split("/")):
            self.write(row, x, y + 36 * k, 31, anchor, italic=True)

    def catchword(self, words: list[str]) -> None:
        """Print the first word of the next page, which is the first of the remaining words, under the last line."""
        self.write(words[0] if words else "", self.right, line_y(LINES) + 10, 44, "rs")

    def place(self, block: Block, x: float, y: float) -> None:
        """Print a woodcut with its top left corner at a point."""
        x, y = round(x), round(y)
        layer = Image.new("L", self.ink.size)
        layer.paste(block.make_print(self.rng), (x, y))
        self.ink = ImageChops.lighter(self.ink, layer)
        self.corners.append(box(x, y, x + block.width, y + block.height))

    def compose(self, words: list[str], first: int, cut: tuple[int, int, int, int]) -> None:
        """Print justified lines down to the bottom of the page.

        Args:
            words: Words of the text; printed words are removed from the list.
            first: Number of the first line.
            cut: Space for a woodcut, as (first line, line after the last, width on the left, width on the right).
        """
        font = self.load_font(BODY)
        for k in range(first, LINES):
            x0, x1 = float(self.left), self.right
            if cut[0] <= k < cut[1]:
                x0, x1 = x0 + cut[2], x1 - cut[3]
            row = take(words, x1 - x0, font)
            wide = [font.getlength(word, features=LIGATURES) for word in row]
            gap = (x1 - x0 - sum(wide)) / max(len(row) - 1, 1) if words else 12
            for word, advance in zip(row, wide, strict=True):
                self.write(word, x0, line_y(k), BODY, "ls")
                x0 += advance + gap

    def turn(self, degrees: float) -> None:
        """Rotate the print and the corners of the woodcuts around the centre of the page."""
        self.ink = self.ink.rotate(degrees, Image.Resampling.BICUBIC)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        middle = np.array([WIDTH / 2, HEIGHT / 2])
        self.corners = [(corners - middle) @ np.array([[c, -s], [s, c]]) + middle for corners in self.corners]

    def boxes(self) -> list[list[int]]:
        """Return the true box of each woodcut as ``x y w h``."""
        ends = [(*corners.min(axis=0), *np.ptp(corners, axis=0)) for corners in self.corners]
        return [[round(float(value)) for value in end] for end in ends]

    def scan(self, back: "Page") -> Image.Image:
        """Return a scan of the page on which ``back``, the other side of the leaf, shows through."""
        shape, rng = (HEIGHT, WIDTH), self.rng
        ink = np.asarray(self.ink.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255
        shadow = ImageChops.offset(back.ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 5, 7)
        ghost = np.asarray(shadow.filter(ImageFilter.GaussianBlur(3)), np.float32) / 255
        ink = ink * np.clip(0.87 + 0.04 * noise(shape, 260, rng) + 0.035 * noise(shape, 4, rng), 0, 0.97)
        ghost = ghost * np.clip(0.06 + 0.025 * noise(shape, 300, rng), 0.015, 1)
        out = paper(self.number % 2 == 1, rng) * (1 - ghost[..., None] * np.array([0.85, 1.0, 1.1]))
        out = out * (1 - ink[..., None]) + np.array([44, 36, 31]) * ink[..., None]
        return Image.fromarray(out.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def line_y(k: int) -> int:
    """Return the vertical position of the baseline of line ``k``, counted from 0."""
    return 330 + k * LEADING


def spell(text: str) -> str:
    """Return Latin in the spelling of early printers: æ, long s, and v and u by their position in the word."""
    for modern, old in (("ae", "æ"), (r"\bu", "v"), (r"(?<=\w)v", "u"), (r"s(?=\w)", "ſ"), ("¶ ", "¶\u00a0")):
        text = re.sub(modern, old, text)
    return text


def take(words: list[str], width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Remove the words that fit on a line from ``words`` and return them.

    The last word is hyphenated after a vowel if a part of it fits.
    """
    row: list[str] = []

    def fits(word: str) -> bool:
        return font.getlength(" ".join([*row, word]), features=LIGATURES) <= width

    while words and fits(words[0]):
        row.append(words.pop(0))
    ends = [m.end() for m in re.finditer(r"(?<=\w)[aeiouæ](?=[bcdfglmnprtſ][aeiouæ]\w)", words[0])] if words else []
    for end in reversed(ends):
        if fits(words[0][:end] + "-"):
            row.append(words[0][:end] + "-")
            words[0] = words[0][end:]
            break
    return row


def paper(recto: bool, rng: np.random.Generator) -> np.ndarray:
    """Return the scan of a blank page, ``(h, w, 3)``: laid paper with stains and foxing, darker at edges and gutter."""
    shape = (HEIGHT, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    inner = x if recto else WIDTH - 1 - x
    edge = np.minimum(np.minimum(y, HEIGHT - 1 - y), WIDTH - 1 - inner)
    edge -= 24 + 2.5 * noise(shape, 500, rng) + 0.35 * noise(shape, 14, rng)
    damp = noise(shape, 420, rng) + 0.12 * noise(shape, 40, rng)
    light = 1 + 0.018 * noise(shape, 500, rng) + 0.008 * noise(shape, 50, rng) + 0.006 * noise(shape, 3, rng)
    light += 0.004 * np.sin(y * 0.9) + 0.008 * (np.sin(x * np.pi / 115) ** 40)
    light -= 0.025 * np.exp(-(((damp - 1.25) / 0.05) ** 2)) + 0.012 * (damp > 1.25)
    light -= 0.05 * np.clip(noise(shape, 10, rng) * noise(shape, 160, rng) - 5.2, 0, 2)
    light -= 0.1 * np.exp(-np.maximum(edge, 0) / 60) + 0.5 * np.exp(-inner / 40) + 0.08 * np.exp(-inner / 220)
    sheet = np.array([235, 223, 197]) * np.clip(light, 0.05, 1.1)[..., None] ** np.array([0.85, 1.0, 1.35])
    return np.where(edge[..., None] > 0, sheet, np.array([52, 47, 42]) * light[..., None])
