from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.demo.contact_sheet import PairCard, draw_overlay, draw_pairs, parse_annotations
from app.images.overlays import FOUND, TRUE

ANNOTATIONS = "1 one.png\n10 20 30 40\n50 60 10 10\n2 two with a space.png\n"


def build_card(colour: tuple[int, int, int] = TRUE, size: tuple[int, int] = (300, 200)) -> PairCard:
    images = Image.new("RGB", size, "black"), Image.new("L", size, "white")
    return PairCard("1", images, ("page_0001_1,2,3,4", "leaf_0001_1,2,3,4"), "0.95", ["same block", "herb"], colour)


def read_marks(path: Path) -> list[tuple[int, ...]]:
    """Return the colours of the marks at the left edge of the rows, from the top."""
    with Image.open(path) as sheet:
        column = np.asarray(sheet.convert("RGB"))[150:, 44]  # below the title
    changes = np.flatnonzero((column[1:] != column[:-1]).any(axis=1)) + 1
    background = tuple(column[0])
    return [tuple(map(int, column[row])) for row in changes if tuple(column[row]) != background]


def test_annotations_are_read_by_image_name() -> None:
    assert parse_annotations(ANNOTATIONS) == {
        "one.png": [(10, 20, 30, 40), (50, 60, 10, 10)],
        "two with a space.png": [],
    }


def test_the_overlay_has_every_page_with_its_boxes(tmp_path: Path) -> None:
    for name in ("one.png", "two with a space.png"):
        Image.new("RGB", (300, 600), "white").save(tmp_path / name)
    draw_overlay(ANNOTATIONS, tmp_path, tmp_path / "out" / "overlay.png", height=300)
    with Image.open(tmp_path / "out" / "overlay.png") as sheet:
        assert sheet.size == (2 * 150 + 3 * 24, 300 + 2 * 24)
        pixels = np.asarray(sheet)
    drawn = (pixels == FOUND).all(axis=2)
    assert drawn[:, : 24 + 150].any()
    assert not drawn[:, 24 + 150 :].any()


@pytest.mark.parametrize("count", [1, 5])
def test_the_sheet_of_pairs_has_a_row_for_each_pair(tmp_path: Path, count: int) -> None:
    path = tmp_path / "out" / "pairs.png"
    draw_pairs("Best pairs", "1 of 1", ("original", "reprint"), [build_card() for _ in range(count)], path)
    with Image.open(path) as sheet:
        assert sheet.width == 1200
        assert 300 * count < sheet.height < 200 + 330 * count
    assert read_marks(path) == [TRUE] * count


def test_a_wrong_pair_is_marked_in_another_colour(tmp_path: Path) -> None:
    path = tmp_path / "pairs.png"
    draw_pairs("Best pairs", "1 of 2", ("original", "reprint"), [build_card(), build_card(FOUND)], path)
    assert read_marks(path) == [TRUE, FOUND]


@pytest.mark.parametrize("size", [(1, 1), (4000, 3), (3, 4000)])
def test_images_of_any_shape_stay_inside_their_row(tmp_path: Path, size: tuple[int, int]) -> None:
    paths = tmp_path / "plain.png", tmp_path / "odd.png"
    for path, each in zip(paths, ((300, 200), size), strict=True):
        draw_pairs("Best pairs", "", ("original", "reprint"), [build_card(size=each)], path)
    with Image.open(paths[0]) as plain, Image.open(paths[1]) as odd:
        assert plain.size == odd.size
        differences = np.flatnonzero((np.asarray(plain) != np.asarray(odd)).any(axis=(0, 2)))
    assert differences.min() > 100
    assert differences.max() < 930
