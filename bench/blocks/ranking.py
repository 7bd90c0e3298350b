"""Rank all images for each query, by the cosine of their descriptors, without and with verification.

Verification reorders the candidates of a query: its best matches, and the images that have the query among theirs.
Those with the verdict ``same`` or ``part`` come first, by probability; all others follow in their order.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from app.similarity.verification import LocalFeatures, extract_features, verify
from app.similarity.verified_pairs import SAME_BLOCK, Verification
from bench.blocks.descriptors import Vectors
from bench.blocks.labelled import Image, Query

FIRST = 10
Ranking = list[int]


class VerifiedPrints:
    """Local features of images, and verified pairs of them; each is computed once.

    Args:
        images: The images.
    """

    def __init__(self, images: Sequence[Image]) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._features: list[LocalFeatures] = list(pool.map(extract_features, images))
        self._found: dict[tuple[int, int], Verification] = {}

    def verify_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Verify pairs in several threads."""
        missing = list({_order(*pair) for pair in pairs} - self._found.keys())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for pair, found in zip(missing, pool.map(lambda pair: self._verify(*pair), missing), strict=True):
                self._found[pair] = found

    def get(self, first: int, second: int) -> Verification:
        """Return the verification of a pair that has been verified."""
        return self._found[_order(first, second)]

    def _verify(self, first: int, second: int) -> Verification:
        return verify(self._features[first], self._features[second])


def _order(first: int, second: int) -> tuple[int, int]:
    return min(first, second), max(first, second)


def rank(vectors: Vectors, queries: Sequence[Query]) -> list[Ranking]:
    """Return for each query all other images, the most alike first, without those that it ignores."""
    similarity = vectors @ vectors.T
    return [
        [image for image in np.argsort(-similarity[query.image], kind="stable").tolist() if _counts(image, query)]
        for query in queries
    ]


def _counts(image: int, query: Query) -> bool:
    return image != query.image and image not in query.ignore


def verify_rankings(
    vectors: Vectors, queries: Sequence[Query], rankings: Sequence[Ranking], verified: VerifiedPrints, depth: int
) -> list[Ranking]:
    """Return the rankings with verified candidates first.

    Args:
        vectors: Descriptors of all images.
        queries: The queries.
        rankings: Rankings by descriptors.
        verified: Verified pairs; those that are missing are added.
        depth: Number of best matches of each image that are verified.
    """
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    reached = np.zeros(similarity.shape, bool)
    np.put_along_axis(reached, np.argsort(-similarity, axis=1, kind="stable")[:, :depth], True, axis=1)
    reached |= reached.T
    ranked = list(zip(queries, rankings, strict=True))
    candidates = [
        {*ranking[:depth]} | {each for each in ranking if reached[query.image, each]} for query, ranking in ranked
    ]
    verified.verify_all((query.image, each) for query, found in zip(queries, candidates, strict=True) for each in found)
    reordered = []
    for (query, ranking), found in zip(ranked, candidates, strict=True):
        checked = {each: verified.get(query.image, each) for each in ranking if each in found}
        related = [each for each, one in checked.items() if one.verdict in SAME_BLOCK]
        first = sorted(related, key=lambda each, checked=checked: -checked[each].probability)  # type: ignore[misc]
        reordered.append(first + [each for each in ranking if each not in related])
    return reordered


def measure(queries: Sequence[Query], rankings: Sequence[Ranking]) -> list[str]:
    """Return rank-1, recall@10 and mean average precision over the queries, as cells of a table.

    Recall@10 is the share of the other prints, at most 10, that are among the first 10.
    """
    rows = [_measure(query, ranking) for query, ranking in zip(queries, rankings, strict=True)]
    return [f"{value:.3f}" for value in np.mean(rows, axis=0)]


def _measure(query: Query, ranking: Ranking) -> NDArray[np.float64]:
    right = np.array([image in query.others for image in ranking])
    precisions = np.cumsum(right)[right] / (np.flatnonzero(right) + 1)
    return np.array([right[0], right[:FIRST].sum() / min(FIRST, len(query.others)), precisions.mean()])
