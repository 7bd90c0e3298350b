import itertools

import pytest

from app.detection.parts import MOST_PARTS, Grid, choose_grid, choose_side
from app.images.formats import LONGEST_JPEG_SIDE, MAX_IMAGE_PIXELS

# Ordinary pages: from an octavo to an opening of a square book, and small images.
ORDINARY = [(1000, 1000), (1800, 2500), (3300, 4600), (2500, 1800), (4000, 2000), (2000, 4300), (60, 80), (1, 1)]
LONG = [(1500, 45000), (45000, 1500), (700, 9000), (1000, 2300), (9000, 116061), (300, 4000), (120, 6000), (3, 3000)]


@pytest.mark.parametrize("size", ORDINARY)
def test_an_ordinary_page_has_one_part(size: tuple[int, int]) -> None:
    assert choose_grid(*size) == Grid(1, 1)
    assert Grid().choose_longest(800, *size) == 800
    assert Grid().cut(*size) == [(0, 0, *size)]


@pytest.mark.parametrize("size", LONG)
def test_a_long_page_is_cut_into_parts_with_the_shape_of_a_page(size: tuple[int, int]) -> None:
    grid = choose_grid(*size)
    assert min(grid.columns, grid.rows) == 1
    assert (grid.columns > 1) == (size[0] > size[1])
    for left, top, right, bottom in grid.cut(*size):
        shape = (right - left) / (bottom - top)
        assert 1 / 1.3 <= shape <= 1.3 or grid.count == MOST_PARTS


@pytest.mark.parametrize("size", [*LONG, (5000, 7000), (12000, 9000), (2600, 30000)])
def test_parts_cover_the_page_and_overlap(size: tuple[int, int]) -> None:
    grid = choose_grid(*size, side=2560)
    boxes = grid.cut(*size)
    assert len(boxes) == grid.count
    for axis, length in enumerate(size):
        spans = sorted({(box[axis], box[axis + 2]) for box in boxes})
        assert (spans[0][0], spans[-1][1]) == (0, length)
        for (start, end), (following, _) in itertools.pairwise(spans):
            assert start < following
            assert end - following >= (end - start) / 3 - 2


@pytest.mark.parametrize("size", [*ORDINARY, *LONG, (5000, 7000), (12000, 9000), (30000, 26000), (2600, 30000)])
def test_parts_of_a_sheet_are_reduced_at_most_threefold(size: tuple[int, int]) -> None:
    grid = choose_grid(*size, choose_side("auto", 640))
    if grid.count * 1.3 < MOST_PARTS:
        assert all(max(right - left, bottom - top) <= 1921 for left, top, right, bottom in grid.cut(*size))
    if max(size) <= 1920:
        assert grid == choose_grid(*size)


@pytest.mark.parametrize("size", [(1, 60000), (60000, 7), (200, 65000), (90000, 80000), (500, 500_000)])
@pytest.mark.parametrize("side", [None, 256])
def test_the_number_of_parts_is_bounded(size: tuple[int, int], side: int | None) -> None:
    assert 1 < choose_grid(*size, side).count <= MOST_PARTS or side is None


@pytest.mark.parametrize("size", [*LONG, (60000, 50000)])
@pytest.mark.parametrize("longest", [800, 1600, 5120])
def test_the_requested_size_gives_each_part_the_pixels_of_a_page(size: tuple[int, int], longest: int) -> None:
    grid = choose_grid(*size, 4 * 640)
    wanted = grid.choose_longest(longest, *size)
    width, height = (side * wanted / max(size) for side in size)
    assert wanted <= LONGEST_JPEG_SIDE
    assert width * height <= MAX_IMAGE_PIXELS * 1.001
    left, top, right, bottom = grid.cut(round(width) or 1, round(height) or 1)[0]
    is_limited = wanted == LONGEST_JPEG_SIDE or width * height > MAX_IMAGE_PIXELS * 0.99
    assert is_limited or max(right - left, bottom - top) == pytest.approx(longest, rel=0.01)


def test_a_scroll_is_requested_in_the_size_that_its_parts_need() -> None:
    assert choose_grid(1500, 45000).choose_longest(800, 1500, 45000) == pytest.approx(640 * 30, rel=0.03)


def test_only_auto_cuts_large_sheets() -> None:
    assert [choose_side(tiles, 640) for tiles in ("", "off", "auto")] == [None, None, 1920]
    assert choose_grid(6000, 8000, choose_side("off", 640)).count == 1
    assert choose_grid(6000, 8000, choose_side("auto", 640)) == Grid(5, 6)
