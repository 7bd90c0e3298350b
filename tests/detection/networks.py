"""Networks that answer exactly, in place of trained ones."""

import torch
from torch import nn


class RectangleFinder(nn.Module):
    """Answers like a YOLO head, ``(b, 4 + classes, n)``: the bounding box of the dark pixels, with confidence 0.9.

    Attributes:
        shapes: Of every batch that it has seen.
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
