"""Exact search: the rows of many arrays of embeddings that are most alike a query.

Every row is compared. The arrays are memory maps of float16, so the file cache of the operating system keeps them in
memory while they are used. Long embeddings, which keep every feature at its position, are shortened before the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

Half = NDArray[np.float16]

# Embeddings with more numbers than LONGEST are searched by sketches of SKETCH numbers.
LONGEST, SKETCH = 4096, 2048
# Numbers that are converted to float32 at a time, so that they stay in the processor's cache.
_CHUNK_NUMBERS = 1 << 20


@dataclass(frozen=True)
class Hit:
    """A row that was found.

    Attributes:
        array: Index of the array.
        row: Index of the row in it.
        score: Cosine similarity to the query.
        transposition: Index of the row of the query that gave the score.
    """

    array: int
    row: int
    score: float
    transposition: int


@torch.inference_mode()
def find_best(query: Half, arrays: Sequence[Half], count: int, device: torch.device) -> list[Hit]:
    """Return the rows most alike the query, best first.

    Args:
        query: ``(t, d)`` embeddings of one image under several transpositions. The best of them counts.
        arrays: Arrays ``(n, d)`` of L2-normalised embeddings; memory maps must be writable copies (mode ``c``).
        count: Largest number of rows to return.
        device: Device for the computation.
    """
    if not arrays:
        return []
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the chunks are small: several threads would wait for each other
    try:
        scores, codes = _multiply(torch.from_numpy(query).to(device).float(), arrays, device).max(1)
    finally:
        torch.set_num_threads(before)
    values, places = scores.topk(min(count, len(scores)))
    starts = np.fromiter(accumulate(map(len, arrays), initial=0), np.int64)
    rows = zip(places.tolist(), values.tolist(), codes[places].tolist(), strict=True)
    return [
        Hit(index := int(np.searchsorted(starts, place, "right")) - 1, place - int(starts[index]), score, code)
        for place, score, code in rows
    ]


def _multiply(query: torch.Tensor, arrays: Sequence[Half], device: torch.device) -> torch.Tensor:
    """Return the products ``(n, t)`` of all rows of all arrays with the rows of the query."""
    height = max(1, _CHUNK_NUMBERS // query.shape[1])
    buffer = torch.empty((height, query.shape[1]), device=device)
    products = torch.empty((sum(map(len, arrays)), len(query)), device=device)
    done = 0
    for chunk in (chunk for array in arrays for chunk in torch.from_numpy(array).split(height)):
        end = done + len(chunk)
        torch.mm(buffer[: len(chunk)].copy_(chunk), query.T, out=products[done:end])
        done = end
    return products


@torch.inference_mode()
def sketch_rows(rows: Half) -> Half:
    """Shorten embeddings ``(n, d)`` to ``(n, SKETCH)``, so that their products stay about the same.

    The numbers get random signs. Number ``i`` is then added to number ``i % SKETCH`` of the sketch (count sketch:
    Weinberger et al., Feature hashing for large scale multitask learning, 2009). The order of scores is kept far
    better than by pooling: see ``bench/README.md``.
    """
    signs = _draw_signs(rows.shape[1])
    sketches = np.empty((len(rows), SKETCH), np.float16)
    padded = torch.zeros(signs.shape)
    for row, sketch in zip(rows, sketches, strict=True):
        padded.view(-1)[: len(row)].copy_(torch.from_numpy(np.array(row)))
        sketch[:] = (padded * signs).sum(0).numpy()
    return sketches


@lru_cache(4)
def _draw_signs(length: int) -> torch.Tensor:
    """Return random signs ``(rows, SKETCH)`` for some numbers, filled up to whole rows.

    Stored sketches depend on the signs. NumPy guarantees that the stream of a bit generator never changes.
    """
    drawn = np.random.PCG64(0).random_raw(length + -length % SKETCH)
    return torch.from_numpy(1 - 2 * (drawn & np.uint64(1)).astype(np.float32)).view(-1, SKETCH)
