from typing import Any

import pytest

from app.aikon.regions import adapt_box
from app.aikon.scores import name_image


@pytest.mark.parametrize(
    ("postprocess", "box"),
    [
        ({}, (10, 20, 40, 20)),
        ({"squarify": False, "h_margin": 0, "v_margin": None}, (10, 20, 40, 20)),
        ({"squarify": True}, (10, 10, 40, 40)),
        ({"h_margin": 0.1}, (6, 20, 48, 20)),
        ({"v_margin": 0.5}, (10, 10, 40, 40)),
        ({"h_margin": 10, "v_margin": 10}, (0, 0, 100, 60)),
        ({"squarify": True, "h_margin": 0.25, "v_margin": 0.25}, (0, 0, 60, 60)),
    ],
)
def test_a_changed_box_stays_within_the_image(postprocess: dict[str, Any], box: tuple[int, ...]) -> None:
    assert adapt_box((10, 20, 40, 20), (100, 60), postprocess) == box


def test_a_square_is_not_larger_than_the_image() -> None:
    assert adapt_box((0, 0, 90, 10), (100, 30), {"squarify": True}) == (30, 0, 30, 30)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("wit1_man2_0003.jpg", "wit1_man2_0003.jpg"),
        ("wit1_man2_0003_1,2,3,4", "wit1_man2_0003_1,2,3,4"),
        ("doc_0003.jpg", "0003"),
        ("0003.jpg", "0003"),
        ("other", "other"),
    ],
)
def test_the_front_makes_the_name_of_an_image_from_its_id(name: str, image_id: str) -> None:
    assert name_image("doc", name) == image_id
