"""The best matches among the images of two documents, from their embeddings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True)
class MatchConfig:
    """How to match.

    Attributes:
        topk: For each image of each document, its so many best matches in the other.
        memory_mb: What the work may take, beside the embeddings and the result.
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


def match(first: Embeddings, second: Embeddings, config: MatchConfig) -> Matches:
    """Find for each image of two documents its best matches in the other.

    Args:
        first: ``(t, n, d)``: the images of the first document under each of t transpositions.
        second: ``(m, d)``: those of the second, untransposed.
        config: How many matches.
    """
    products = np.stack([each.astype(np.float32) @ second.astype(np.float32).T for each in first])
    return _select(products.max(axis=0), products.argmax(axis=0), config.topk, within=False)


def match_within(images: Embeddings, config: MatchConfig) -> Matches:
    """Find for each image of a document its best matches among the others: never itself, and (i, j) once.

    Args:
        images: ``(t, n, d)``; the first transposition is ``none``.
        config: How many matches.
    """
    products = np.stack([each.astype(np.float32) @ images[0].astype(np.float32).T for each in images])
    scores, chosen = products.max(axis=0), products.argmax(axis=0)
    np.fill_diagonal(scores, -np.inf)
    return _select(scores, chosen, config.topk, within=True)


def _select(scores: NDArray[np.float32], chosen: NDArray[np.int64], topk: int, within: bool) -> Matches:
    kept = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(kept, np.argsort(-scores, axis=1, kind="stable")[:, :topk], True, axis=1)
    np.put_along_axis(kept, np.argsort(-scores, axis=0, kind="stable")[:topk], True, axis=0)
    kept &= np.isfinite(scores)
    if within:
        scores = np.maximum(scores, scores.T)
        kept = np.triu(kept | kept.T, 1)
    first, second = np.nonzero(kept)
    order = np.argsort(-scores[first, second], kind="stable")
    first, second = first[order], second[order]
    return Matches(first, second, scores[first, second], chosen[first, second])
