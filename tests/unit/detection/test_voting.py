from types import SimpleNamespace

import numpy as np
import pytest

from app.detection.voting import BOX_VOTING, asks_for_voting, vote

KEPT = np.array([[100, 100, 200, 200, 0.9, 0]], dtype=np.float32)


def build_output(*rows: tuple[float, ...]) -> np.ndarray:
    """The output of a network with two classes, from rows ``x1 y1 x2 y2 confidence class``."""
    columns = []
    for x1, y1, x2, y2, confidence, class_id in rows:
        scores = [confidence if place == class_id else 0 for place in range(2)]
        columns.append([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *scores])
    return np.array(columns, dtype=np.float32).T


def test_a_detection_gets_the_mean_of_the_boxes_around_it() -> None:
    (voted,) = vote(KEPT, build_output((100, 100, 200, 200, 0.9, 0), (104, 100, 200, 200, 0.9, 0)))
    assert 101 < voted[0] < 104
    assert voted[1:4] == pytest.approx([100, 200, 200])
    assert np.array_equal(voted[4:], KEPT[0, 4:])


def test_a_confident_box_counts_more() -> None:
    (voted,) = vote(KEPT, build_output((100, 100, 200, 200, 0.9, 0), (104, 100, 200, 200, 0.3, 0)))
    assert voted[0] < 101


@pytest.mark.parametrize(
    "other",
    [(150, 100, 250, 200, 0.9, 0), (104, 100, 200, 200, 0.9, 1), (104, 100, 200, 200, 0.01, 0)],
    ids=["elsewhere", "of another class", "of no confidence"],
)
def test_other_boxes_do_not_vote(other: tuple[float, ...]) -> None:
    voted = vote(KEPT, build_output((100, 100, 200, 200, 0.9, 0), other))
    assert np.allclose(voted, KEPT)


def test_a_detection_without_any_vote_keeps_its_box() -> None:
    assert np.array_equal(vote(KEPT, build_output((0, 0, 10, 10, 0.9, 0))), KEPT)


def test_no_detections_stay_none() -> None:
    assert vote(KEPT[:0], build_output((0, 0, 10, 10, 0.9, 0))).shape == (0, 6)


def test_only_weights_that_ask_for_it_vote() -> None:
    assert asks_for_voting(SimpleNamespace(args={BOX_VOTING: True}))
    assert not asks_for_voting(SimpleNamespace(args={"imgsz": 640}))
    assert not asks_for_voting(SimpleNamespace(args={BOX_VOTING: "yes"}))
    assert not asks_for_voting(SimpleNamespace())
    assert not asks_for_voting(SimpleNamespace(args={BOX_VOTING: True}, end2end=True))
