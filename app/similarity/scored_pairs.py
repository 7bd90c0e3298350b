"""Pairs of images with score and verification: selected, and returned as JSON.

This module does not import numpy, because the web process uses it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.similarity.scores import ComparedDocument, Scores
from app.similarity.verified_pairs import Verdict, Verification, VerifiedPair


class Order(StrEnum):
    """Order of pairs, best first. Pairs that were not verified have no probability and come last."""

    SCORE = "score"
    PROBABILITY = "probability"


@dataclass(frozen=True)
class ScoredPair:
    """A pair of images.

    Attributes:
        first, second: Indices of the images in the two documents.
        score: Cosine similarity.
        transposition: Index of the transposition of the first image that gave the score.
        verification: Result of the verification; None if the pair was not verified.
    """

    first: int
    second: int
    score: float
    transposition: int
    verification: Verification | None


def list_scored(scores: Scores, verified: Iterable[VerifiedPair]) -> Iterator[ScoredPair]:
    """Yield the pairs of a score file with their verification, in the order of the file: best score first."""
    found = {(pair.first, pair.second): pair.verification for pair in verified}
    for i, j, score, code in zip(scores.first, scores.second, scores.scores, scores.transpositions, strict=True):
        yield ScoredPair(i, j, score, code, found.get((i, j)))


def select(pairs: Iterable[ScoredPair], order: Order, least: float | None, verdict: Verdict | None) -> list[ScoredPair]:
    """Return pairs in an order.

    Args:
        pairs: Pairs, best score first.
        order: Order of the result.
        least: Least score or probability, whichever gives the order; None for no limit.
        verdict: Verdict of the wanted pairs; None for all pairs.
    """
    if verdict is not None:
        pairs = (pair for pair in pairs if pair.verification and pair.verification.verdict is verdict)
    if order is Order.SCORE:
        return [pair for pair in pairs if least is None or pair.score >= least]
    if least is not None:
        pairs = (pair for pair in pairs if pair.verification and pair.verification.probability >= least)
    return sorted(pairs, key=lambda pair: pair.verification.probability if pair.verification else -1.0, reverse=True)


def format_json(
    pairs: Iterable[ScoredPair], a: ComparedDocument, b: ComparedDocument, transpositions: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield one JSON object for each pair. The values of a pair that was not verified are None.

    Args:
        pairs: Pairs of images of the two documents.
        a, b: Documents.
        transpositions: Names of the transpositions.
    """
    for pair in pairs:
        yield {
            "score": float(f"{pair.score:.7g}"),
            "transposition": transpositions[pair.transposition],
            "image_1": {"name": a.names[pair.first], "url": a.urls[pair.first]},
            "image_2": {"name": b.names[pair.second], "url": b.urls[pair.second]},
            **format_verification(pair.verification),
        }


def format_verification(found: Verification | None) -> Mapping[str, Any]:
    """Return a verification as JSON; all values are None if there is none."""
    names = "verdict", "probability", "inliers", "region_1", "region_2", "transform"
    if found is None:
        return dict.fromkeys(names)
    values = (
        found.verdict,
        round(found.probability, 4),
        found.inliers,
        found.region_1,
        found.region_2,
        found.transform and [float(f"{value:.6g}") for value in found.transform],
    )
    return dict(zip(names, values, strict=True))
