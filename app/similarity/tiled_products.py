"""The matrix of cosine similarities, computed tile by tile in bounded memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Embeddings = NDArray[np.float32] | NDArray[np.float16]

# Beyond this a tile is no faster, and leaves the processor's cache.
_LARGEST_SIDE = 2048
# Sides are multiples of this, so that they can be halved some times.
_MULTIPLE = 64
# Bytes for each score of a tile: the score, its code, another product to compare it with; and at worst, when all scores
# are equal, all of them again as candidates.
_BYTES_A_SCORE = 64


@dataclass(frozen=True)
class Tile:
    """A part of the matrix.

    Attributes:
        row, column: Where it begins.
        scores: ``(a, b)`` float32, overwritten by the next tile; sides are filled up to multiples of 64 with -inf.
        codes: ``(a, b)`` uint8: which product gave the score; None when there is one only.
    """

    row: int
    column: int
    scores: torch.Tensor
    codes: torch.Tensor | None


@dataclass(frozen=True)
class Product:
    """One way to compare the images of the rows with those of the columns.

    Attributes:
        rows, columns: ``(n, d)`` and ``(m, d)`` embeddings.
        code: Its number.
    """

    rows: Embeddings
    columns: Embeddings
    code: int


class TiledProducts:
    """The elementwise maximum of matrix products, tile by tile, rows before columns.

    Args:
        products: Of one shape; of equal scores the first product's counts.
        memory: Bytes that the work may take.
        device: Where to compute.
        upper: Only the tiles on and above the diagonal.
    """

    def __init__(self, products: list[Product], memory: int, device: torch.device, upper: bool) -> None:
        self._products = products
        self._device = device
        self._upper = upper
        side = math.isqrt(memory // 2 // _BYTES_A_SCORE) // _MULTIPLE * _MULTIPLE
        self.side = max(_MULTIPLE, min(_LARGEST_SIDE, side))
        self._scores, self._rivals = (
            torch.empty(self.side**2 if needed else 0, device=device) for needed in (True, len(products) > 1)
        )
        # Both operands, as they are read and in float32.
        self.depth = max(16, memory // 2 // (2 * self.side * (4 + 4)))

    def __iter__(self) -> Iterator[Tile]:
        height, width = len(self._products[0].rows), len(self._products[0].columns)
        for row in range(0, height, self.side):
            for column in range(row if self._upper else 0, width, self.side):
                yield self._compute(row, column)

    def _compute(self, row: int, column: int) -> Tile:
        first, *others = self._products
        scores = self._multiply(first, row, column, self._scores)
        if not others:
            return Tile(row, column, scores, None)
        codes = torch.zeros(scores.shape, dtype=torch.uint8, device=self._device)
        for product in others:
            rivals = self._multiply(product, row, column, self._rivals)
            codes.masked_fill_(rivals > scores, product.code)
            torch.maximum(scores, rivals, out=scores)
        return Tile(row, column, scores, codes)

    def _multiply(self, product: Product, row: int, column: int, buffer: torch.Tensor) -> torch.Tensor:
        rows, columns = product.rows[row : row + self.side], product.columns[column : column + self.side]
        height, width = (-(-len(each) // _MULTIPLE) * _MULTIPLE for each in (rows, columns))
        padded = buffer[: height * width].view(height, width)
        padded[len(rows) :] = padded[:, len(columns) :] = -torch.inf
        scores = padded[: len(rows), : len(columns)]
        for start in range(0, rows.shape[1], self.depth):
            part = slice(start, start + self.depth)
            # beta: the first part is written over what was there, the others are added.
            scores.addmm_(self._load(rows[:, part]), self._load(columns[:, part]).T, beta=min(start, 1))
        return padded

    def _load(self, part: Embeddings) -> torch.Tensor:
        # Half precision is for the disk: products of it would lose three of the seven digits of a score.
        return torch.from_numpy(np.array(part)).to(self._device).float()
