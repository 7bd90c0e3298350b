"""The best partners of each image, kept while a matrix of scores goes by in tiles."""

from dataclasses import dataclass

import torch

# No partner yet: below every key.
_NOBODY = torch.iinfo(torch.int64).min
_LOW = 0xFFFFFFFF
# Columns in the coarsest level of maxima.
_COARSEST = 64
# With so many times more groups than scores are wanted, few of the best share a group.
_ENOUGH = 3


@dataclass(frozen=True)
class Partners:
    """Who belongs together.

    Attributes:
        owners, partners: ``(m,)`` places of images.
        codes: ``(m,)`` how a score came about.
        scores: ``(m,)``.
    """

    owners: torch.Tensor
    partners: torch.Tensor
    codes: torch.Tensor
    scores: torch.Tensor


class BestPartners:
    """For each of n images its best partners.

    A score and its partner are one integer, the score in the upper half and the partner, turned round, in the lower:
    the largest integers are the best scores, and of equal ones the first partner.

    Args:
        count: Images.
        topk: Partners an image.
        codes: Codes are below this; partners times codes are below 2³².
        device: Where the scores are.
    """

    def __init__(self, count: int, topk: int, codes: int, device: torch.device) -> None:
        self.topk = topk
        self._codes = codes
        self._keys = torch.full((count, topk), _NOBODY, device=device)
        # What a new partner's score must exceed. Partners come in ascending order, so an equal one is too late.
        self._thresholds = torch.full((count,), -torch.inf, device=device)

    def add(self, scores: torch.Tensor, codes: torch.Tensor | None, start: int, partners: int) -> None:
        """Take in a tile.

        Args:
            scores: ``(a, b)`` float32 of the images from ``start`` on with the partners from ``partners`` on; -inf for
                a pair that does not count.
            codes: ``(a, b)`` uint8; None where all are 0.
            start, partners: First image and first partner; partners come in ascending order.
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
        # Rows are in ascending order: the new ones of an image stand together.
        ranks = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        widest = int(counts.max())
        keys = torch.full((len(touched), self.topk + widest), _NOBODY, device=counts.device)
        keys[:, : self.topk] = self._keys[start:end][touched]
        keys[places[rows], self.topk + ranks] = new
        best = keys.topk(self.topk, dim=1).values
        self._keys[start:end][touched] = best
        self._thresholds[start:end][touched] = _score_of(best[:, -1])

    def collect(self) -> Partners:
        """Return what was kept."""
        owners, ranks = (self._keys != _NOBODY).nonzero(as_tuple=True)
        keys = self._keys[owners, ranks]
        payload = _LOW - (keys & _LOW)
        return Partners(owners, payload // self._codes, payload % self._codes, _score_of(keys))


def _find_larger(
    scores: torch.Tensor, thresholds: torch.Tensor, topk: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (rows, columns, values) of the scores above their row's threshold, rows ascending.

    Nearly all are below, so groups of columns are looked at by their maximum, groups of groups first: the tile is read
    once, and little else is done with it. Scores that cannot be among the ``topk`` of their row may be left out.
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
    """Return the scores and ever coarser maxima of four columns, a quarter of the width apart.

    Neighbours would be nearer to each other, but whole rows of maxima are taken at once only like this.
    """
    levels = [scores]
    while (width := levels[-1].shape[1]) % 4 == 0 and width > _COARSEST:
        halves = torch.maximum(*levels[-1].split(width // 2, dim=1))
        levels.append(torch.maximum(*halves.split(width // 4, dim=1)))
    return levels


def _find_bounds(levels: list[torch.Tensor], topk: int) -> torch.Tensor:
    """Return for each row a number that at least ``topk`` of its scores exceed, from maxima of groups; or -inf."""
    maxima = next((level for level in reversed(levels) if level.shape[1] >= _ENOUGH * topk), levels[0])
    if maxima.shape[1] < topk:
        return maxima.new_full((len(maxima),), -torch.inf)
    least = maxima.topk(topk, dim=1).values[:, -1]
    return torch.nextafter(least, least.new_tensor(-torch.inf))


def _sortable(scores: torch.Tensor) -> torch.Tensor:
    """Return integers in the order of float32 numbers."""
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: there are two zeros, and they are equal
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).long()


def _score_of(keys: torch.Tensor) -> torch.Tensor:
    """Return the scores of keys; -inf of nobody's."""
    bits = (keys >> 32).int()
    scores = (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(torch.float32)
    return scores.masked_fill(keys == _NOBODY, -torch.inf)
