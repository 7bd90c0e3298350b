"""Top-k matches between the images of two documents, or within one, from their embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from app.detection.streams import choose_device
from app.devices import shrink_to_memory
from app.similarity.best_partners import BestPartners
from app.similarity.tiled_products import Embeddings, Product, TiledProducts

# For the operator of a server whose memory does not suffice.
ADVICE = "set DEVICE=cpu"


@dataclass(frozen=True)
class MatchConfig:
    """Matching settings.

    Attributes:
        topk: Number of best matches for each image of each document.
        memory_mb: Working memory in MiB, without the embeddings and the result. 512 are enough for the largest tile.
            Halved if the device has less.
        device: ``cuda``, ``cuda:1`` or ``cpu``; empty for the GPU if there is one, else the CPU.
    """

    topk: int = 20
    memory_mb: int = 512
    device: str = ""


@dataclass(frozen=True)
class Matches:
    """Unique pairs of images, best first.

    Attributes:
        first: ``(m,)`` int64 indices of images in the first document.
        second: ``(m,)`` int64 indices of images in the second document.
        scores: ``(m,)`` float32 cosine similarities.
        transpositions: ``(m,)`` int64 indices of the transposition of the first image that gave the score.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: NDArray[np.float32]
    transpositions: NDArray[np.int64]


def match(
    first: Sequence[Embeddings], second: Embeddings, config: MatchConfig, tick: Callable[[], object] = bool
) -> Matches:
    """Find the best matches between two documents, for each image of either document.

    Only the images of the first document are transposed. A pair has the same score in both directions.

    Args:
        first: Embeddings ``(n, d)`` of the first document, for each of t transpositions.
        second: Embeddings ``(m, d)`` of the second document, untransposed.
        config: Matching settings.
        tick: Called after each tile of scores; raises to stop.
    """
    return shrink_to_memory(partial(_match, first, second, config, tick), config.memory_mb, ADVICE)


def _match(
    first: Sequence[Embeddings], second: Embeddings, config: MatchConfig, tick: Callable[[], object], memory_mb: int
) -> Matches:
    device = choose_device(config.device)
    products = [Product(turned, second, code) for code, turned in enumerate(first)]
    count, others = len(first[0]), len(second)
    best_of_first = BestPartners(count, min(config.topk, others), len(products), device)
    best_of_second = BestPartners(others, min(config.topk, count), len(products), device)
    if count and others:
        for tile in TiledProducts(products, memory_mb << 20, device, upper=False):
            codes = tile.codes
            best_of_first.add(tile.scores, codes, tile.row, tile.column)
            best_of_second.add(tile.scores.T, codes.T if codes is not None else None, tile.column, tile.row)
            tick()
    found, back = best_of_first.collect(), best_of_second.collect()
    return _sort(
        torch.cat([found.owners, back.partners]),
        torch.cat([found.partners, back.owners]),
        torch.cat([found.scores, back.scores]),
        torch.cat([found.codes, back.codes]),
    )


def match_within(images: Sequence[Embeddings], config: MatchConfig, tick: Callable[[], object] = bool) -> Matches:
    """Find the best matches of each image of a document among the other images of the document.

    Either image of a pair may be the transposed one; it is ``first`` in the result. If neither is transposed, ``first``
    is the earlier image.

    Args:
        images: Embeddings ``(n, d)`` for each of t transpositions; the first transposition is ``none``.
        config: Matching settings.
        tick: Called after each tile of scores; raises to stop.
    """
    return shrink_to_memory(partial(_match_within, images, config, tick), config.memory_mb, ADVICE)


def _match_within(
    images: Sequence[Embeddings], config: MatchConfig, tick: Callable[[], object], memory_mb: int
) -> Matches:
    device = choose_device(config.device)
    straight = images[0]
    products = [Product(straight, straight, 0)]
    for number, each in enumerate(images[1:], start=1):
        products += [Product(each, straight, 2 * number), Product(straight, each, 2 * number + 1)]
    count = len(straight)
    best = BestPartners(count, min(config.topk, max(count - 1, 0)), 2 * len(images), device)
    if count > 1:
        for tile in TiledProducts(products, memory_mb << 20, device, upper=True):
            if tile.row == tile.column:
                tile.scores.fill_diagonal_(-torch.inf)
            else:
                # In the mirrored tile, the two images swap roles: codes 2k and 2k + 1 are exchanged.
                other = (tile.codes ^ (tile.codes > 1)).T if tile.codes is not None else None
                best.add(tile.scores.T, other, tile.column, tile.row)
            best.add(tile.scores, tile.codes, tile.row, tile.column)
            tick()
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


def _sort(
    first: torch.Tensor, second: torch.Tensor, scores: torch.Tensor, codes: torch.Tensor, either_way: bool = False
) -> Matches:
    """Return the matches without duplicate pairs, best first.

    With ``either_way``, (a, b) and (b, a) are the same pair.
    """
    one, two, score, code = (each.cpu().numpy() for each in (first, second, scores, codes))
    low, high = (np.minimum(one, two), np.maximum(one, two)) if either_way else (one, two)
    pairs = low * (high.max(initial=0) + 1) + high
    _, places = np.unique(pairs, return_index=True)
    kept = places[np.argsort(-score[places], kind="stable")]
    return Matches(one[kept], two[kept], score[kept].clip(-1, 1), code[kept])
