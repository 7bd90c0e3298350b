"""The cosine similarity matrix, computed tile by tile in bounded memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Embeddings = NDArray[np.float32] | NDArray[np.float16]

# Larger tiles are not faster, because they do not fit the CPU cache.
_LARGEST_SIDE = 2048
# Sides are multiples of this, so that they can be halved several times.
_MULTIPLE = 64
# Memory for each score of a tile: the score, its code, the score of another product; in the worst case, when all scores
# are equal, also the buffers of the top-k search.
_BYTES_A_SCORE = 64


@dataclass(frozen=True)
class Tile:
    """A part of the matrix.

    Attributes:
        row, column: Indices of the first row and the first column.
        scores: ``(a, b)`` float32 scores, padded with -inf to multiples of 64; overwritten by the next tile.
        codes: ``(a, b)`` uint8 codes of the products that gave the scores; None if there is only one product.
    """

    row: int
    column: int
    scores: torch.Tensor
    codes: torch.Tensor | None


@dataclass(frozen=True)
class Product:
    """One matrix product of row and column embeddings, at most one of them of transposed images.

    Attributes:
        rows, columns: Embeddings ``(n, d)`` and ``(m, d)``.
        code: Number that identifies the product in ``Tile.codes``.
    """

    rows: Embeddings
    columns: Embeddings
    code: int


class TiledProducts:
    """The elementwise maximum of several matrix products, as an iterable of tiles in row-major order.

    Args:
        products: Products of the same shape; on ties, the first product wins.
        memory: Working memory in bytes.
        device: Device for the computation.
        upper: Whether to yield only the tiles on and above the diagonal.
    """

    def __init__(self, products: list[Product], memory: int, device: torch.device, upper: bool) -> None:
        self._products = products
        self._device = device
        self._upper = upper
        side = math.isqrt(memory // 2 // _BYTES_A_SCORE) // _MULTIPLE * _MULTIPLE
        self.side = max(_MULTIPLE, min(_LARGEST_SIDE, side))
        self._scores, self._candidates = (
            torch.empty(self.side**2 if needed else 0, device=device) for needed in (True, len(products) > 1)
        )
        # Memory for both operands, as read from disk and in float32.
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
            candidates = self._multiply(product, row, column, self._candidates)
            codes.masked_fill_(candidates > scores, product.code)
            torch.maximum(scores, candidates, out=scores)
        return Tile(row, column, scores, codes)

    def _multiply(self, product: Product, row: int, column: int, buffer: torch.Tensor) -> torch.Tensor:
        rows, columns = product.rows[row : row + self.side], product.columns[column : column + self.side]
        height, width = (-(-len(each) // _MULTIPLE) * _MULTIPLE for each in (rows, columns))
        padded = buffer[: height * width].view(height, width)
        padded[len(rows) :] = padded[:, len(columns) :] = -torch.inf
        scores = padded[: len(rows), : len(columns)]
        for start in range(0, rows.shape[1], self.depth):
            part = slice(start, start + self.depth)
            # beta 0 overwrites the buffer for the first part; beta 1 adds the other parts.
            scores.addmm_(self._load(rows[:, part]), self._load(columns[:, part]).T, beta=min(start, 1))
        return padded

    def _load(self, part: Embeddings) -> torch.Tensor:
        # Embeddings may be stored in half precision, but products in half precision would lose 3 of a score's 7 digits.
        return torch.from_numpy(np.array(part)).to(self._device).float()
