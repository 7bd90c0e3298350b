"""Figures of the benchmark on prints of blocks, on cases that can be computed by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.blocks.drawing import draw_prints
from bench.blocks.labelled import LabelledPair, Query, load_prints
from bench.blocks.pairs import trace
from bench.blocks.ranking import measure, rank

VECTORS = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0, 1], [0.95, 0.05]], np.float32)


def test_equal_scores_are_one_point_of_the_curve() -> None:
    curve = trace([0.9, 0.5, 0.5, 0.1], [True, True, False, True])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3, 3 / 4])
    assert (curve.find_recall(0.9), curve.find_recall(0.7)) == (pytest.approx(1 / 3), 1)
    assert curve.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_the_query_and_ignored_images_are_not_ranked() -> None:
    query = Query(0, frozenset({2, 3}), frozenset({4}))
    (ranking,) = rank(VECTORS, [query])
    assert ranking == [1, 2, 3]
    # The answers are the second and the third image.
    assert measure([query], [ranking]) == ["0.000", "1.000", f"{(1 / 2 + 2 / 3) / 2:.3f}"]


def test_a_folder_of_labelled_prints_is_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.full((30, 20, 3), 200, np.uint8))
    (tmp_path / "pairs.csv").write_text("a,b,label,block,note\nc.jpg,a.jpg,same,x,\n")
    (tmp_path / "queries.csv").write_text("image,block,others,ignore\nc.jpg,x,a.jpg,b.jpg\na.jpg,x,c.jpg,\n")
    prints = load_prints(tmp_path)
    assert [image.shape for image in prints.images] == [(30, 20, 3)] * 3
    assert prints.pairs == [LabelledPair(2, 0, "same")]
    assert prints.queries == [Query(2, frozenset({0}), frozenset({1})), Query(0, frozenset({2}), frozenset())]


def test_drawn_prints_are_the_same_each_time() -> None:
    one, other = draw_prints(3), draw_prints(3)
    assert all(np.array_equal(*images) for images in zip(one.images, other.images, strict=True))
    assert (one.pairs, one.queries) == (other.pairs, other.queries)
    assert {pair.label for pair in one.pairs} == {"same", "copy", "different"}
