from typing import Any

import pytest

from app.demo.judged_pairs import JudgedPair, count_true_pairs, describe_verdict, format_table, judge_pairs
from app.demo.reprint import Woodcut

ORIGINAL = [Woodcut("herb", "page_1.jpg", (100, 200, 300, 400)), Woodcut("ship", "page_2.jpg", (0, 0, 500, 300))]
REPRINT = [
    Woodcut("ship", "leaf_1.jpg", (10, 10, 250, 150), mirrored=True),
    Woodcut("herb", "leaf_1.jpg", (50, 400, 150, 200)),
]
HERB, SHIP = "page_1_110,190,310,400", "page_2_0,10,490,300"
REPRINTED_HERB, REPRINTED_SHIP = "leaf_1_50,410,150,190", "leaf_1_0,10,260,150"


def judge(one: str, other: str, transposition: str = "none") -> JudgedPair:
    images: dict[str, Any] = {
        f"image_{number}": {"name": name, "url": f"http://127.0.0.1/{name}"}
        for number, name in enumerate((one, other), 1)
    }
    verification = {"verdict": "same", "probability": 0.97}
    pairs = [{"score": 0.9, "transposition": transposition, **images, **verification}]
    (pair,) = judge_pairs(pairs, ORIGINAL, REPRINT)
    return pair


@pytest.mark.parametrize(
    ("one", "other", "transposition", "right", "verdict"),
    [
        (HERB, REPRINTED_HERB, "none", True, "yes: herb"),
        (SHIP, REPRINTED_SHIP, "hflip", True, "yes: ship"),
        (HERB, REPRINTED_HERB, "hflip", False, "yes: herb, but wrong transposition"),
        (SHIP, REPRINTED_SHIP, "none", False, "yes: ship, but wrong transposition"),
        (HERB, REPRINTED_SHIP, "none", False, "no: herb, ship"),
        ("page_1_600,700,90,90", REPRINTED_HERB, "none", False, "no: not a woodcut, herb"),
        ("page_2_110,190,310,400", REPRINTED_HERB, "none", False, "no: not a woodcut, herb"),
    ],
)
def test_a_pair_is_right_with_one_block_and_the_true_transposition(
    one: str, other: str, transposition: str, right: bool, verdict: str
) -> None:
    pair = judge(one, other, transposition)
    assert (pair.right, describe_verdict(pair)) == (right, verdict)


def test_two_detections_outside_the_woodcuts_are_not_one_block() -> None:
    pair = judge("page_1_600,700,90,90", "leaf_1_600,700,90,90")
    assert (pair.right, describe_verdict(pair)) == (False, "no: not a woodcut, not a woodcut")


def test_true_pairs_are_the_blocks_of_both_documents() -> None:
    assert count_true_pairs(ORIGINAL, REPRINT) == 2
    assert count_true_pairs(ORIGINAL, REPRINT[:1]) == 1


def test_the_table_has_a_row_for_each_pair() -> None:
    table = format_table([judge(HERB, REPRINTED_HERB), judge(SHIP, REPRINTED_SHIP, "hflip")], ("original", "reprint"))
    heading, *rows = table.splitlines()
    assert heading.split() == ["rank", "score", "original", "reprint", "transposition", "verified", "true", "block"]
    assert [row.split() for row in rows] == [
        ["1", "0.900", HERB, REPRINTED_HERB, "none", "same", "0.97", "yes:", "herb"],
        ["2", "0.900", SHIP, REPRINTED_SHIP, "hflip", "same", "0.97", "yes:", "ship"],
    ]
    assert {row.index(name) for row, name in zip(rows, ("none", "hflip"), strict=True)} == {
        heading.index("transposition")
    }
