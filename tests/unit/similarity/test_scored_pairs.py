from typing import Any

import pytest

from app.similarity.scored_pairs import Order, format_json, list_scored, select
from app.similarity.scores import ComparedDocument, Scores
from app.similarity.verified_pairs import Verdict, Verification, VerifiedPair

A = ComparedDocument("a", "1", ["a, 1", "a2"], ["https://a.example/1", "https://a.example/2"], [], [], [])
B = ComparedDocument("b", "2", ["b1", "b2"], ["https://b.example/1", "https://b.example/2"], [], [], [])
SCORES = Scores([0, 1, 1, 0], [0, 1, 0, 1], [0.9, 0.8, 0.75, 0.5], [1, 0, 0, 0])
SAME = Verification(Verdict.SAME, 0.98765, 41, (0, 0, 90, 50), (10, 0, 90, 50), (-1.0, 0.0, 100.0, 0.0, 1.0, 1 / 3))
VERIFIED = [VerifiedPair(0, 0, Verification(Verdict.NONE, 0.01)), VerifiedPair(1, 0, SAME)]


@pytest.mark.parametrize(
    ("order", "least", "verdict", "expected"),
    [
        (Order.SCORE, None, None, [(0, 0), (1, 1), (1, 0), (0, 1)]),
        (Order.SCORE, 0.75, None, [(0, 0), (1, 1), (1, 0)]),
        (Order.PROBABILITY, None, None, [(1, 0), (0, 0), (1, 1), (0, 1)]),
        (Order.PROBABILITY, 0.0, None, [(1, 0), (0, 0)]),
        (Order.PROBABILITY, 0.5, None, [(1, 0)]),
        (Order.SCORE, None, Verdict.NONE, [(0, 0)]),
        (Order.PROBABILITY, 0.5, Verdict.NONE, []),
    ],
)
def test_pairs_are_ordered_and_filtered(order: Order, least: Any, verdict: Any, expected: list[Any]) -> None:
    found = select(list_scored(SCORES, VERIFIED), order, least, verdict)
    assert [(pair.first, pair.second) for pair in found] == expected


def test_the_json_has_the_verification_or_null() -> None:
    _, unverified, same, _ = format_json(list_scored(SCORES, VERIFIED), A, B, ["none", "hflip"])
    assert same == {
        "score": 0.75,
        "transposition": "none",
        "image_1": {"name": "a2", "url": "https://a.example/2"},
        "image_2": {"name": "b1", "url": "https://b.example/1"},
        "verdict": "same",
        "probability": 0.9877,
        "inliers": 41,
        "region_1": (0, 0, 90, 50),
        "region_2": (10, 0, 90, 50),
        "transform": [-1.0, 0.0, 100.0, 0.0, 1.0, 0.333333],
    }
    assert {unverified[name] for name in ("verdict", "probability", "inliers", "region_1", "transform")} == {None}
