"""Merging of the detections of parts. The detections are those of a perfect detector, unless a test says otherwise."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from app.detection.boxes import Detections, compute_iou
from app.detection.parts import Grid, PartBox, choose_grid
from app.detection.seams import merge

Corners = Sequence[float]


def see(parts: Sequence[PartBox], true: Sequence[Corners], classes: Sequence[int] = ()) -> list[Detections]:
    """Return what a perfect detector finds in each part: the visible pieces of the boxes."""
    found = []
    for left, top, right, bottom in parts:
        rows = []
        for number, (x1, y1, x2, y2) in enumerate(true):
            piece = max(x1, left), max(y1, top), min(x2, right), min(y2, bottom)
            if piece[2] - piece[0] > 8 and piece[3] - piece[1] > 8:
                place = [piece[0] - left, piece[1] - top, piece[2] - left, piece[3] - top]
                rows.append([*place, 0.9, classes[number] if classes else 0])
        found.append(Detections.from_rows(np.array(rows, dtype=np.float32)))
    return found


def merge_perfect(size: tuple[int, int], true: Sequence[Corners], grid: Grid | None = None) -> list[list[float]]:
    parts = (grid or choose_grid(*size)).cut(*size)
    return sorted(merge(parts, see(parts, true), size, 0.45).xyxy.tolist())


@pytest.mark.parametrize("grid", [Grid(1, 12), Grid(12, 1), Grid(3, 4)])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_each_illustration_is_found_once_wherever_it_is(grid: Grid, share: float) -> None:
    size = (600 * grid.columns, 600 * grid.rows)
    random = np.random.default_rng(grid.columns)
    for _ in range(40):
        w, h = (random.uniform(0.8, 1) * share * 600, random.uniform(0.8, 1) * share * 600)
        x, y = random.uniform(0, size[0] - w), random.uniform(0, size[1] - h)
        (found,) = merge_perfect(size, [(x, y, x + w, y + h)], grid)
        assert found == pytest.approx([x, y, x + w, y + h], abs=12)


@pytest.mark.parametrize("size", [(600, 9000), (9000, 600)])
def test_an_illustration_longer_than_a_part_is_joined(size: tuple[int, int]) -> None:
    box = [20.0, 20.0, size[0] - 30.0, size[1] - 30.0]
    assert merge_perfect(size, [box]) == [pytest.approx(box, abs=1)]


def test_a_picture_that_fills_the_whole_page_is_one_box() -> None:
    assert merge_perfect((9000, 600), [(0, 0, 9000, 600)]) == [[0, 0, 9000, 600]]


def test_a_picture_over_parts_of_both_directions_is_one_box() -> None:
    box = [250.0, 330.0, 2300.0, 2900.0]
    assert merge_perfect((3000, 3600), [box], Grid(4, 5)) == [pytest.approx(box, abs=1)]


@pytest.mark.parametrize("gap", [4, 10, 40])
def test_close_neighbours_stay_apart(gap: int) -> None:
    column = [[50.0, y, 550.0, y + 290.0] for y in np.arange(10.0, 5600.0, 290.0 + gap)]
    np.testing.assert_allclose(sorted(merge_perfect((600, 6000), column), key=lambda box: box[1]), column, atol=1)
    row = [[10.0, 100.0, 290.0, 5000.0], [290.0 + gap, 100.0, 590.0, 5000.0]]
    np.testing.assert_allclose(merge_perfect((600, 6000), row), row, atol=1)


def test_boxes_of_other_classes_stay() -> None:
    parts = Grid(1, 2).cut(600, 1000)
    true = [(100.0, 450.0, 300.0, 560.0)] * 2
    merged = merge(parts, see(parts, true, [0, 1]), (600, 1000), 0.45)
    assert sorted(merged.class_id.tolist()) == [0, 1]


def build_detections(*rows: Corners) -> Detections:
    return Detections.from_rows(np.array(rows, dtype=np.float32))


# Two parts, 0 to 600 and 400 to 1000.
PARTS = Grid(1, 2).cut(600, 1000)


def merge_two(first: Sequence[Corners], second: Sequence[Corners]) -> Detections:
    return merge(PARTS, [build_detections(*first), build_detections(*second)], (600, 1000), 0.45)


def test_the_parts_of_these_tests() -> None:
    assert PARTS == [(0, 0, 600, 600), (0, 400, 600, 1000)]


def test_a_cut_box_with_a_whole_partner_is_dropped() -> None:
    found = merge_two([(100, 500, 300, 598, 0.9, 0)], [(100, 100, 300, 260, 0.6, 0)])
    assert found.xyxy.tolist() == [[100, 500, 300, 660]]
    assert found.confidence.tolist() == pytest.approx([0.9])


def test_a_small_piece_does_not_raise_the_confidence_of_a_box() -> None:
    found = merge_two([(100, 580, 150, 600, 0.9, 0)], [(100, 100, 300, 500, 0.4, 0)])
    assert found.confidence.tolist() == pytest.approx([0.4])


def test_a_piece_that_does_not_reach_the_seam_is_dropped() -> None:
    found = merge_two([(100, 500, 300, 560, 0.5, 0)], [(100, 100, 300, 290, 0.6, 0)])
    assert found.xyxy.tolist() == [[100, 500, 300, 690]]


def test_a_detail_of_a_picture_on_the_whole_page_stays() -> None:
    details = build_detections((100, 100, 200, 200, 0.5, 0))
    picture = build_detections((20, 20, 580, 980, 0.6, 0))
    found = merge([*PARTS, (0, 0, 600, 1000)], [details, build_detections(), picture], (600, 1000), 0.45)
    assert len(found) == 2


def test_a_cut_box_that_another_part_shows_whole_is_dropped() -> None:
    assert len(merge_two([(100, 520, 300, 600, 0.5, 0)], [])) == 0


def test_a_cut_box_without_a_partner_is_kept() -> None:
    assert merge_two([(100, 300, 300, 600, 0.5, 0)], []).xyxy.tolist() == [[100, 300, 300, 600]]


def test_duplicates_in_the_overlap_become_the_more_confident_box() -> None:
    found = merge_two([(100, 420, 300, 570, 0.5, 0)], [(102, 21, 303, 172, 0.7, 0)])
    assert found.xyxy.tolist() == [[102, 421, 303, 572]]
    assert found.confidence.tolist() == pytest.approx([0.7])


def test_cut_boxes_that_meet_become_one_with_the_best_confidence() -> None:
    found = merge_two([(100, 100, 300, 600, 0.8, 0)], [(90, 0, 310, 350, 0.4, 0)])
    assert found.xyxy.tolist() == [[90, 100, 310, 750]]
    assert found.confidence.tolist() == pytest.approx([0.8])


def test_boxes_that_end_before_the_seam_are_joined_if_they_share_enough() -> None:
    found = merge_two([(100, 100, 300, 560, 0.5, 0)], [(100, 20, 300, 350, 0.5, 0)])
    assert found.xyxy.tolist() == [[100, 100, 300, 750]]
    assert len(merge_two([(100, 100, 300, 500, 0.5, 0)], [(100, 95, 300, 350, 0.5, 0)])) == 2


def test_cut_boxes_next_to_each_other_are_not_joined() -> None:
    assert len(merge_two([(0, 100, 200, 600, 0.8, 0)], [(210, 0, 500, 350, 0.8, 0)])) == 2


def test_an_edge_of_the_page_is_no_seam() -> None:
    found = merge_two([(0, 0, 600, 300, 0.8, 0), (0, 0, 200, 200, 0.7, 0)], [])
    assert len(found) == 2


def test_nested_boxes_that_are_whole_stay() -> None:
    assert len(merge_two([(100, 50, 500, 390, 0.8, 0), (200, 100, 260, 160, 0.7, 0)], [])) == 2


def test_no_detections_give_no_detections() -> None:
    found = merge_two([], [])
    assert (found.xyxy.shape, len(found)) == ((0, 4), 0)


def test_many_boxes_are_merged_without_much_memory() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 500, (5_000, 2))
    rows = np.column_stack([corners, corners + 20, random.uniform(0.3, 0.9, 5_000), np.zeros(5_000)])
    found = merge_two(rows.tolist(), [])
    overlaps = compute_iou(found.xyxy, found.xyxy)
    assert 100 < len(found) <= 3000
    assert all(overlaps[a, b] <= 0.45 for a, b in itertools.combinations(range(0, len(found), 7), 2))
