"""Place illustrations on a page: find the text and free places, and clear the page under an illustration."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.synthesis.ink import Array, clear, draw_ink, estimate_paper, extract_ink, resize

Box = tuple[int, int, int, int]
Place = Callable[[int, int], tuple[int, int]]  # (width, height) → (x, y) of the top left corner


@dataclass(eq=False)
class Setting:
    """A page on which illustrations are placed.

    Attributes:
        page: ``(h, w, 3)`` float32 RGB in [0, 255], changed in place.
        boxes: Boxes of the illustrations on the page, xyxy in pixels.
        rng: Random generator.
        paper: The original page without its text.
        block: Box of the text, xyxy in pixels.
    """

    page: Array
    boxes: list[Box]
    rng: np.random.Generator
    paper: Array = field(init=False)
    block: Box = field(init=False)

    def __post_init__(self) -> None:
        self.paper = estimate_paper(self.page)
        self.block = find_text(self.page, self.paper)

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of the page."""
        return self.page.shape[1], self.page.shape[0]

    def fit(self, ink: Array, wide: float) -> Array:
        """Resize ink to a width in pixels, limited so that it fits on the page and no side is below 7 pixels."""
        width, height = self.size
        factor = min(wide / ink.shape[1], 0.85 * height / ink.shape[0], 0.92 * width / ink.shape[1])
        factor = max(factor, 7 / min(ink.shape[:2]))
        return resize(ink, round(ink.shape[1] * factor), round(ink.shape[0] * factor))

    def place(self, ink: Array, where: Place, margin: int | None = None) -> bool:
        """Draw an illustration at a free place and add its box. Does nothing if twelve attempts find no free place.

        Args:
            ink: Ink of the illustration.
            where: Function that chooses a place.
            margin: Width in pixels of the area that is cleared around the illustration; random by default.

        Returns:
            Whether the illustration was placed.
        """
        width, height = self.size
        high, wide = ink.shape[:2]
        margin = int(self.rng.integers(2, 12)) if margin is None else margin
        for _ in range(12):
            x, y = where(wide, high)
            box = (x, y, x + wide, y + high)
            if x < 2 or y < 2 or box[2] > width - 2 or box[3] > height - 2 or self.is_taken(box):
                continue
            self.wipe((max(0, x - margin), max(0, y - margin), box[2] + margin, box[3] + margin))
            draw_ink(self.page, ink, x, y)
            self.boxes.append(box)
            return True
        return False

    def wipe(self, box: Box) -> None:
        """Replace a box of the page by its paper."""
        clear(self.page, self.paper, box, self.rng)

    def is_taken(self, box: Box, gap: int = 8) -> bool:
        """Return whether an illustration is in a box or less than ``gap`` pixels from it."""
        return any(
            min(box[2], b[2]) - max(box[0], b[0]) > -gap and min(box[3], b[3]) - max(box[1], b[1]) > -gap
            for b in self.boxes
        )

    def anywhere(self, wide: int, high: int) -> tuple[int, int]:
        """Choose a place on the whole page."""
        width, height = self.size
        return self._choose(2, width - wide - 2), self._choose(2, height - high - 2)

    def in_text(self, wide: int, high: int) -> tuple[int, int]:
        """Choose a place in the text: at its left edge, at its right edge or between."""
        left, top, right, bottom = self.block
        x = (left, max(left, right - wide), self._choose(left, right - wide))[self.rng.integers(3)]
        return x, self._choose(top, bottom - high)

    def at_head(self, wide: int, high: int) -> tuple[int, int]:
        """Choose a place above the text, horizontally centred."""
        left, top, right, _ = self.block
        return (left + right - wide) // 2, max(self.size[1] // 40, top - int(self.rng.integers(0, high + 12)))

    def below(self, wide: int, high: int) -> tuple[int, int]:
        """Choose a place below the text or in its lower half, horizontally centred."""
        left, top, right, bottom = self.block
        return (left + right - wide) // 2, self._choose((top + bottom) // 2, bottom + high)

    def _choose(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, max(low + 1, high)))


def find_text(page: Array, paper: Array) -> Box:
    """Return the box of the text of a page.

    On each side, the box leaves out the outermost 3 % of the ink. A box that is too small to be the text is replaced by
    the page without its outer eighth.
    """
    ink = extract_ink(page, paper).mean(axis=2) < 0.7
    width, height = page.shape[1], page.shape[0]
    ink[:, : width // 25] = ink[:, -width // 25 :] = False
    sides = []
    for axis, length in ((0, width), (1, height)):
        share = np.cumsum(ink.sum(axis=axis)) / max(1, ink.sum())
        sides.append((int(np.searchsorted(share, 0.03)), min(length - 1, int(np.searchsorted(share, 0.97)))))
    (left, right), (top, bottom) = sides
    if right - left < width / 4 or bottom - top < height / 8:
        return width // 8, height // 8, width * 7 // 8, height * 7 // 8
    return left, top, right, bottom
