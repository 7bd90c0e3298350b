"""Fake networks that detect dark rectangles exactly."""

import torch
from torch import nn


class RectangleFinder(nn.Module):
    """Returns the bounding box of the dark pixels with confidence 0.9, in YOLO's format ``(b, 4 + classes, n)``.

    Attributes:
        shapes: Shapes of all batches so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names = {0: "illustration", 1: "ornament"}
        self.stride = torch.tensor([8.0, 16.0, 32.0])
        self.anchor = nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, ...]] = []

    def fuse(self, verbose: bool = True) -> "RectangleFinder":
        return self

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(batch.shape))
        return torch.stack([self._find(image) for image in batch])

    def _find(self, image: torch.Tensor) -> torch.Tensor:
        ys, xs = torch.nonzero(image.mean(0) < 0.25, as_tuple=True)
        if not len(xs):
            return torch.zeros(6, 1)
        left, right, top, bottom = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
        centre = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        return torch.tensor([*map(float, centre), 0.9, 0.1])[:, None]


class EdgeFinder(RectangleFinder):
    """Finds the edges of a dark rectangle at the 50 % grey level, with subpixel accuracy."""

    def _find(self, image: torch.Tensor) -> torch.Tensor:
        dark = 1 - image.mean(0)
        ys, xs = torch.nonzero(dark > 0.75, as_tuple=True)
        if not len(xs):
            return torch.zeros(6, 1)
        middle_y, middle_x = int(ys.float().mean()), int(xs.float().mean())
        left, right = _find_crossings(dark[middle_y])
        top, bottom = _find_crossings(dark[:, middle_x])
        return torch.tensor([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0.9, 0.1])[:, None]


def _find_crossings(line: torch.Tensor) -> tuple[float, float]:
    """Return the positions at which a line of pixels becomes dark and light again; pixel centres are at ``i + 0.5``."""
    values = line.tolist()
    rising = next(i for i in range(len(values) - 1) if values[i] < 0.5 <= values[i + 1])
    falling = next(i for i in range(len(values) - 2, -1, -1) if values[i] >= 0.5 > values[i + 1])
    return tuple(i + 0.5 + (0.5 - values[i]) / (values[i + 1] - values[i]) for i in (rising, falling))  # type: ignore[return-value]
