import pytest

from app.similarity.verified_pairs import (
    MAGIC,
    ROW_BYTES,
    Verdict,
    Verification,
    VerifiedPair,
    count_verified,
    enlarge,
    pack_row,
    unpack_verified,
)
from tests.support.comparison_results import pack_verified

TRANSFORM = (0.5, -0.25, 8.0, 0.25, 0.5, 0.0)
PAIRS = [
    VerifiedPair(70_000, 3, Verification(Verdict.SAME, 0.75, 40, (1, 2, 30, 40), (5, 6, 70, 80), TRANSFORM)),
    VerifiedPair(0, 1, Verification(Verdict.NONE, inliers=3)),
    VerifiedPair(2, 2, Verification(Verdict.COPY, 0.125, 12, (0, 0, 1, 1), (0, 0, 1, 1), TRANSFORM)),
]


def test_pairs_survive_packing_and_unpacking() -> None:
    data = pack_verified(PAIRS)
    assert len(data) == len(MAGIC) + 3 * ROW_BYTES
    assert unpack_verified(data) == PAIRS
    assert unpack_verified(pack_verified([])) == []


@pytest.mark.parametrize("kept", range(1, ROW_BYTES))
def test_an_incomplete_last_row_is_ignored(kept: int) -> None:
    data = pack_verified(PAIRS)
    assert unpack_verified(data[: kept - ROW_BYTES]) == PAIRS[:2]


def test_only_the_wanted_verdicts_are_unpacked() -> None:
    assert unpack_verified(pack_verified(PAIRS), [Verdict.COPY, Verdict.SAME]) == [PAIRS[0], PAIRS[2]]


def test_pairs_are_counted_without_an_incomplete_last_row() -> None:
    assert count_verified(pack_verified(PAIRS) + pack_row(PAIRS[0])[:-1], [Verdict.COPY, Verdict.SAME]) == 2


def test_regions_and_transforms_are_enlarged_to_the_full_size() -> None:
    found = enlarge(PAIRS[0], [(200, 300), (1000, 100)], [(100, 100), (100, 100)]).verification
    assert (found.region_1, found.region_2) == ((2, 6, 60, 120), (50, 6, 700, 80))
    a, b, x, c, d, y = found.transform or ()
    # The point (10, 20) of the first file is at (8, 12.5) of the second: (20, 60) and (80, 12.5) at full size.
    assert (a * 20 + b * 60 + x, c * 20 + d * 60 + y) == pytest.approx((80, 12.5))
    assert enlarge(PAIRS[1], [(200, 300), (1000, 100)], [(100, 100), (100, 100)]) == PAIRS[1]


def test_an_enlarged_region_stays_within_the_image() -> None:
    whole = Verification(Verdict.SAME, 1.0, 9, (0, 0, 33, 33), (32, 32, 1, 1), TRANSFORM)
    found = enlarge(VerifiedPair(0, 0, whole), [(100, 99), (7, 7)], [(33, 33), (33, 33)]).verification
    assert found.region_1 == (0, 0, 100, 99)
    assert found.region_2 == (6, 6, 1, 1)
