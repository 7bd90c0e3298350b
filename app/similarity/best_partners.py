"""Running top-k of each image over a score matrix that arrives in tiles.

The *owner* of a score is the image whose top-k it belongs to; the *partner* is the other image of the pair.
"""

from dataclasses import dataclass

import torch

# Key of an empty slot, below every other key.
_EMPTY = torch.iinfo(torch.int64).min
_LOW = 0xFFFFFFFF
# Most columns in the coarsest level of maxima.
_COARSEST = 64
# Least number of groups, as a multiple of k. With fewer groups, more of the top-k scores would share one.
_GROUPS_PER_RANK = 3


@dataclass(frozen=True)
class Partners:
    """The top-k of all images, as a list of pairs.

    Attributes:
        owners, partners: ``(m,)`` indices of images.
        codes: ``(m,)`` codes of the products that gave the scores.
        scores: ``(m,)`` cosine similarities.
    """

    owners: torch.Tensor
    partners: torch.Tensor
    codes: torch.Tensor
    scores: torch.Tensor


class BestPartners:
    """Running top-k partners of n images.

    A score and its partner are packed into one int64 key: the score in the upper 32 bits, the inverted partner and code
    in the lower. The largest key is the best score; on ties, the first partner wins.

    Args:
        count: Number of images.
        topk: Number of partners per image.
        codes: Number of codes; the number of partners times that of codes is below 2³².
        device: Device of the scores.
    """

    def __init__(self, count: int, topk: int, codes: int, device: torch.device) -> None:
        self.topk = topk
        self._codes = codes
        self._keys = torch.full((count, topk), _EMPTY, device=device)
        # A new score must exceed these. Partners arrive in ascending order, so the earlier partner wins a tie.
        self._thresholds = torch.full((count,), -torch.inf, device=device)

    def add(self, scores: torch.Tensor, codes: torch.Tensor | None, start: int, partners: int) -> None:
        """Merge a tile into the top-k.

        Args:
            scores: ``(a, b)`` float32 scores of images ``start`` … with partners ``partners`` …; -inf excludes a pair.
            codes: ``(a, b)`` uint8 codes; None if all are 0.
            start, partners: Indices of the first image and of the first partner; partners arrive in ascending order.
        """
        end = min(start + len(scores), len(self._keys))
        scores = scores[: end - start]
        rows, columns, values = _find_larger(scores, self._thresholds[start:end], self.topk)
        if not len(rows):
            return
        code = codes[rows, columns].long() if codes is not None else 0
        new = _sortable(values) << 32 | _LOW - ((columns + partners) * self._codes + code)
        counts = torch.bincount(rows, minlength=len(scores))
        touched = counts.nonzero().squeeze(1)
        places = torch.zeros_like(counts)
        places[touched] = torch.arange(len(touched), device=counts.device)
        # Rows are ascending, so the new scores of an image are adjacent.
        ranks = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        widest = int(counts.max())
        keys = torch.full((len(touched), self.topk + widest), _EMPTY, device=counts.device)
        keys[:, : self.topk] = self._keys[start:end][touched]
        keys[places[rows], self.topk + ranks] = new
        best = keys.topk(self.topk, dim=1).values
        self._keys[start:end][touched] = best
        self._thresholds[start:end][touched] = _score_of(best[:, -1])

    def collect(self) -> Partners:
        """Return the top-k of all images."""
        owners, ranks = (self._keys != _EMPTY).nonzero(as_tuple=True)
        keys = self._keys[owners, ranks]
        payload = _LOW - (keys & _LOW)
        return Partners(owners, payload // self._codes, payload % self._codes, _score_of(keys))


def _find_larger(
    scores: torch.Tensor, thresholds: torch.Tensor, topk: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (rows, columns, values) of the scores above their row's threshold, rows ascending.

    Nearly all scores are below their threshold. The search therefore starts with the maxima of large groups of columns,
    and descends only into groups above the threshold. It reads the tile itself only once. Scores that cannot be among
    the ``topk`` of their row may be omitted.
    """
    levels = _build_levels(scores)
    rows, columns = (levels[-1] > thresholds[:, None]).nonzero(as_tuple=True)
    if 2 * len(rows) > levels[-1].numel():
        thresholds = torch.maximum(thresholds, _find_bounds(levels, topk))
        rows, columns = (levels[-1] > thresholds[:, None]).nonzero(as_tuple=True)
    values = levels[-1][rows, columns]
    for finer, coarser in zip(levels[-2::-1], levels[:0:-1], strict=True):
        members = columns[:, None] + torch.arange(0, finer.shape[1], coarser.shape[1], device=scores.device)
        found = finer[rows[:, None], members]
        hits, places = (found > thresholds[rows, None]).nonzero(as_tuple=True)
        rows, columns, values = rows[hits], members[hits, places], found[hits, places]
    return rows, columns, values


def _build_levels(scores: torch.Tensor) -> list[torch.Tensor]:
    """Return the scores and successively coarser levels, each the maxima over four columns of the level before.

    The four columns are a quarter of the width apart, not adjacent, so that the maxima are computed on whole blocks.
    """
    levels = [scores]
    while (width := levels[-1].shape[1]) % 4 == 0 and width > _COARSEST:
        halves = torch.maximum(*levels[-1].split(width // 2, dim=1))
        levels.append(torch.maximum(*halves.split(width // 4, dim=1)))
    return levels


def _find_bounds(levels: list[torch.Tensor], topk: int) -> torch.Tensor:
    """Return a bound for each row, from group maxima: at least ``topk`` scores exceed it. It is -inf if unknown."""
    maxima = next((level for level in reversed(levels) if level.shape[1] >= _GROUPS_PER_RANK * topk), levels[0])
    if maxima.shape[1] < topk:
        return maxima.new_full((len(maxima),), -torch.inf)
    least = maxima.topk(topk, dim=1).values[:, -1]
    return torch.nextafter(least, least.new_tensor(-torch.inf))


def _sortable(scores: torch.Tensor) -> torch.Tensor:
    """Return integers that sort like the float32 numbers."""
    bits = (scores + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).long()


def _score_of(keys: torch.Tensor) -> torch.Tensor:
    """Return the scores of keys; -inf for empty slots."""
    bits = (keys >> 32).int()
    scores = (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(torch.float32)
    return scores.masked_fill(keys == _EMPTY, -torch.inf)
