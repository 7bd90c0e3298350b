"""The reprint: every woodcut of the sample once, at the place that the demo takes for true."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.demo.reprint import HEIGHT, LEAVES, MIRRORED, Woodcut, rotate_boxes
from tests.integration.demo.conftest import SAMPLE

Reprint = tuple[Path, list[Woodcut]]


@pytest.mark.parametrize("degrees", [0, 1.5, -20])
def test_a_box_rotates_with_its_page(degrees: float) -> None:
    page = Image.new("L", (400, 600))
    page.paste(255, (50, 100, 150, 350))
    rotated = page.rotate(degrees, Image.Resampling.BICUBIC)
    left, top, right, bottom = rotated.point(lambda value: 255 * (value > 127)).getbbox() or (0, 0, 0, 0)
    (box,) = rotate_boxes([(50, 100, 100, 250)], page.size, degrees)
    assert box == pytest.approx((left, top, right - left, bottom - top), abs=2)


def test_a_page_without_woodcuts_has_no_boxes() -> None:
    assert rotate_boxes([], (400, 600), 1.5).shape == (0, 4)


def test_the_reprint_has_every_woodcut_once(reprint: Reprint, woodcuts: list[Woodcut]) -> None:
    folder, reprinted = reprint
    assert sorted(each.block for each in reprinted) == sorted(each.block for each in woodcuts)
    assert [each.block for each in reprinted if each.mirrored] == [MIRRORED]
    pages = sorted(folder.iterdir())
    assert len(pages) == len(LEAVES)
    for path in pages:
        with Image.open(path) as page:
            assert page.height == HEIGHT


def test_each_reprinted_box_shows_its_woodcut(reprint: Reprint, woodcuts: list[Woodcut]) -> None:
    folder, reprinted = reprint
    originals = {each.block: cut(SAMPLE, each) for each in woodcuts}
    for each in reprinted:
        found = cut(folder, each)
        likeness = {block: correlate(found, image, each.mirrored) for block, image in originals.items()}
        assert max(likeness, key=lambda block: likeness[block]) == each.block
        assert likeness[each.block] > correlate(found, originals[each.block], not each.mirrored)


def cut(folder: Path, woodcut: Woodcut) -> Image.Image:
    x, y, w, h = woodcut.box
    with Image.open(folder / woodcut.page) as page:
        return page.convert("L").crop((x, y, x + w, y + h)).resize((40, 40))


def correlate(one: Image.Image, other: Image.Image, mirrored: bool) -> float:
    def read(image: Image.Image) -> NDArray[np.float64]:
        return np.asarray(image, np.float64).ravel()

    return float(np.corrcoef(read(one), read(ImageOps.mirror(other) if mirrored else other))[0, 1])
