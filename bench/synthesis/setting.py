"""A page while illustrations are set on it: what is free, where the text is, and how a spot is cleared for them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.synthesis.ink import Array, clear, estimate_paper, lay, lift, resize

Box = tuple[int, int, int, int]
Place = Callable[[int, int], tuple[int, int]]  # the top left corner for a width and a height


@dataclass(eq=False)
class Setting:
    """A page being set.

    Attributes:
        page: ``(h, w, 3)`` float32 RGB in [0, 255], changed in place.
        boxes: xyxy in pixels, of the illustrations on it.
        rng: Where chance comes from.
        paper: The page without what is written on it.
        block: The box of the text, xyxy.
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
        return self.page.shape[1], self.page.shape[0]

    def fit(self, ink: Array, wide: float) -> Array:
        """Return ink about so many pixels wide, no larger than the page has room for and no lower than 7 pixels."""
        width, height = self.size
        factor = min(wide / ink.shape[1], 0.85 * height / ink.shape[0], 0.92 * width / ink.shape[1])
        factor = max(factor, 7 / min(ink.shape[:2]))
        return resize(ink, round(ink.shape[1] * factor), round(ink.shape[0] * factor))

    def place(self, ink: Array, where: Place, margin: int | None = None) -> bool:
        """Lay an illustration on a spot that ``where`` chooses and that no other has, cleared with a margin."""
        width, height = self.size
        high, wide = ink.shape[:2]
        margin = int(self.rng.integers(2, 12)) if margin is None else margin
        for _ in range(12):
            x, y = where(wide, high)
            box = (x, y, x + wide, y + high)
            if x < 2 or y < 2 or box[2] > width - 2 or box[3] > height - 2 or self.is_taken(box):
                continue
            self.wipe((max(0, x - margin), max(0, y - margin), box[2] + margin, box[3] + margin))
            lay(self.page, ink, x, y)
            self.boxes.append(box)
            return True
        return False

    def wipe(self, box: Box) -> None:
        """Clear a box of the page."""
        clear(self.page, self.paper, box, self.rng)

    def is_taken(self, box: Box, gap: int = 8) -> bool:
        """Whether an illustration is in a box, or nearly."""
        return any(
            min(box[2], b[2]) - max(box[0], b[0]) > -gap and min(box[3], b[3]) - max(box[1], b[1]) > -gap
            for b in self.boxes
        )

    def anywhere(self, wide: int, high: int) -> tuple[int, int]:
        width, height = self.size
        return self._choose(2, width - wide - 2), self._choose(2, height - high - 2)

    def in_text(self, wide: int, high: int) -> tuple[int, int]:
        """In the text, at its left, at its right or between."""
        left, top, right, bottom = self.block
        x = (left, max(left, right - wide), self._choose(left, right - wide))[self.rng.integers(3)]
        return x, self._choose(top, bottom - high)

    def at_head(self, wide: int, high: int) -> tuple[int, int]:
        """Over the text, in its middle."""
        left, top, right, _ = self.block
        return (left + right - wide) // 2, max(self.size[1] // 40, top - int(self.rng.integers(0, high + 12)))

    def below(self, wide: int, high: int) -> tuple[int, int]:
        """Under the text or in its lower half, in its middle."""
        left, top, right, bottom = self.block
        return (left + right - wide) // 2, self._choose((top + bottom) // 2, bottom + high)

    def _choose(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, max(low + 1, high)))


def find_text(page: Array, paper: Array) -> Box:
    """Return the box of what is written on a page, without the outermost few hundredths of its ink."""
    ink = lift(page, paper).mean(axis=2) < 0.7
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
