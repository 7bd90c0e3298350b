"""The tables of similarity jobs. Groups are read in tests/integration/routes/test_image_groups.py."""

import csv

from app.exports.pair_tables import PAIR_COLUMNS, format_pairs
from app.similarity.scored_pairs import ScoredPair
from app.similarity.scores import ComparedDocument
from app.similarity.verified_pairs import Verdict, Verification

A = ComparedDocument("a", "1", ["a, 1", "a2"], ["https://a.example/1", "https://a.example/2"], [], [], [])
B = ComparedDocument("b", "2", ["b1", "b2"], ["https://b.example/1", "https://b.example/2"], [], [], [])
SAME = Verification(Verdict.SAME, 0.98765, 41, (0, 0, 90, 50), (10, 0, 90, 50), (-1.0, 0.0, 100.0, 0.0, 1.0, 1 / 3))


def test_pairs_contain_no_formulas() -> None:
    document = ComparedDocument("-a", "1", ["=1"], ["@x"], [], [], [])
    _, row = csv.reader(format_pairs([ScoredPair(0, 0, 0.5, 0, None)], document, B, ["none"]).splitlines())
    assert row[:3] == ["'-a", "'=1", "'@x"]


def test_pairs_have_a_row_each_and_empty_values() -> None:
    pairs = [
        ScoredPair(0, 0, 0.9, 1, Verification(Verdict.NONE, 0.01)),
        ScoredPair(1, 1, 0.8, 0, None),
        ScoredPair(1, 0, 0.75, 0, SAME),
    ]
    head, none, unverified, same = csv.reader(format_pairs(pairs, A, B, ["none", "hflip"]).splitlines())
    assert head == list(PAIR_COLUMNS)
    assert none[:9] == ["a", "a, 1", A.urls[0], "b", "b1", B.urls[0], "0.9", "hflip", "none"]
    assert unverified[8:] == [""] * 6
    assert same[8:] == ["same", "0.9877", "41", "0,0,90,50", "10,0,90,50", "-1.0,0.0,100.0,0.0,1.0,0.333333"]
