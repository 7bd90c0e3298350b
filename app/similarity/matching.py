"""The best matches among the images of two documents, from their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.similarity.best_partners import BestPartners
from app.similarity.tiled_products import Embeddings, Product, TiledProducts


@dataclass(frozen=True)
class MatchConfig:
    """How to match.

    Attributes:
        topk: For each image of each document, its so many best matches in the other.
        memory_mb: What the work may take, beside the embeddings and the result. 512 hold the
            largest tile: more is no faster.
        device: ``cuda``, ``cuda:1``, ``cpu``; empty for the GPU when there is one.
    """

    topk: int = 20
    memory_mb: int = 512
    device: str = ""


@dataclass(frozen=True)
class Matches:
    """Pairs of images, best first, no pair twice.

    Attributes:
        first: ``(m,)`` int64, places of images in the first document.
        second: ``(m,)`` int64, in the second.
        scores: ``(m,)`` float32, cosine similarities.
        transpositions: ``(m,)`` int64, which of the transpositions of the first image gave the score.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: NDArray[np.float32]
    transpositions: NDArray[np.int64]


def match(first: Sequence[Embeddings], second: Embeddings, config: MatchConfig) -> Matches:
    """Find for each image of two documents its best matches in the other.

    The images of the first document are the ones that are turned. A pair has one score, whichever of the two it is a
    best match of.

    Args:
        first: ``(n, d)`` for each of t transpositions: the images of the first document, turned.
        second: ``(m, d)``: those of the second, as they are.
        config: How many matches.
    """
    device = _choose_device(config)
    products = [Product(turned, second, code) for code, turned in enumerate(first)]
    count, others = len(first[0]), len(second)
    best_of_first = BestPartners(count, min(config.topk, others), len(products), device)
    best_of_second = BestPartners(others, min(config.topk, count), len(products), device)
    if count and others:
        for tile in TiledProducts(products, config.memory_mb << 20, device, upper=False):
            codes = tile.codes
            best_of_first.add(tile.scores, codes, tile.row, tile.column)
            best_of_second.add(tile.scores.T, codes.T if codes is not None else None, tile.column, tile.row)
    found, back = best_of_first.collect(), best_of_second.collect()
    return _sort(
        torch.cat([found.owners, back.partners]),
        torch.cat([found.partners, back.owners]),
        torch.cat([found.scores, back.scores]),
        torch.cat([found.codes, back.codes]),
    )


def match_within(images: Sequence[Embeddings], config: MatchConfig) -> Matches:
    """Find for each image of a document its best matches among the others: never itself, and no pair twice.

    Of two images either may be turned; the one that was is ``first``. Where none was, the earlier one is.

    Args:
        images: ``(n, d)`` under each of t transpositions, of which the first is ``none``.
        config: How many matches.
    """
    device = _choose_device(config)
    straight = images[0]
    products = [Product(straight, straight, 0)]
    for number, each in enumerate(images[1:], start=1):
        products += [Product(each, straight, 2 * number), Product(straight, each, 2 * number + 1)]
    count = len(straight)
    best = BestPartners(count, min(config.topk, max(count - 1, 0)), 2 * len(images), device)
    if count > 1:
        for tile in TiledProducts(products, config.memory_mb << 20, device, upper=True):
            if tile.row == tile.column:
                tile.scores.fill_diagonal_(-torch.inf)
            else:
                # Seen from the other side, it is the other image that was turned.
                other = (tile.codes ^ (tile.codes > 1)).T if tile.codes is not None else None
                best.add(tile.scores.T, other, tile.column, tile.row)
            best.add(tile.scores, tile.codes, tile.row, tile.column)
    found = best.collect()
    transpositions = found.codes // 2
    swapped = torch.where(transpositions > 0, found.codes % 2 == 1, found.owners > found.partners)
    return _sort(
        torch.where(swapped, found.partners, found.owners),
        torch.where(swapped, found.owners, found.partners),
        found.scores,
        transpositions,
        either_way=True,
    )


def _choose_device(config: MatchConfig) -> torch.device:
    return torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _sort(
    first: torch.Tensor, second: torch.Tensor, scores: torch.Tensor, codes: torch.Tensor, either_way: bool = False
) -> Matches:
    """Return matches best first, of a pair that stands there twice the better."""
    one, two, score, code = (each.cpu().numpy() for each in (first, second, scores, codes))
    low, high = (np.minimum(one, two), np.maximum(one, two)) if either_way else (one, two)
    pairs = low * (high.max(initial=0) + 1) + high
    _, places = np.unique(pairs, return_index=True)
    kept = places[np.argsort(-score[places], kind="stable")]
    return Matches(one[kept], two[kept], score[kept].clip(-1, 1), code[kept])
