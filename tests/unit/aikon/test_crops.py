from typing import Any

import pytest

from app.aikon.crops import read_crops
from app.errors import RequestError

PAGE = {"doc_uid": "a", "source": "1.jpg"}


@pytest.mark.parametrize(
    ("crop", "page"),
    [
        ({"absolute": {"x1": 10, "y1": 20, "x2": 40, "y2": 60, "width": 30, "height": 40}}, {}),
        ({"absolute": {"x1": 10, "y1": 20, "width": 30, "height": 40}}, {}),
        ({"bbox": [10, 20, 30, 40]}, {}),
        ({"relative": {"x1": 0.1, "y1": 0.1, "x2": 0.4, "y2": 0.3}}, {"width": 100, "height": 200}),
        ({"relative": {"x": 0.1, "y": 0.1, "width": 0.3, "height": 0.2}}, {"width": 100, "height": 200}),
        ({"relative": [0.1, 0.1, 0.3, 0.2], "bbox": "gb638390"}, {"width": 100, "height": 200}),
    ],
)
def test_a_box_is_read_in_every_form(crop: dict[str, Any], page: dict[str, Any]) -> None:
    expected = {"a": [{"image_name": "1.jpg", "xywh": [10, 20, 30, 40], "name": "x"}]}
    assert read_crops([PAGE | page | {"crops": [crop | {"crop_id": "x"}]}]) == expected
    assert read_crops([PAGE | page | crop | {"crop_id": "x"}]) == expected


@pytest.mark.parametrize(
    "entries",
    [
        "x",
        ["x"],
        [{"source": "1.jpg", "bbox": [1, 2, 3, 4]}],
        [{"doc_uid": "a", "bbox": [1, 2, 3, 4]}],
        [PAGE | {"crops": "x"}],
        [PAGE | {"crops": [None]}],
        [PAGE | {"crops": [{}]}],
        [PAGE | {"bbox": [1, 2, 3]}],
        [PAGE | {"bbox": [-1, 2, 3, 4]}],
        [PAGE | {"bbox": [1, 2, 3, 10**30]}],
        [PAGE | {"bbox": [1, 2, 3, 10**400]}],  # no float is as large
        [PAGE | {"relative": [0.1, 0.1, 0.3, 0.2], "width": 10**400, "height": 100}],
        [PAGE | {"bbox": [1, 2, 3, "4"]}],
        [PAGE | {"bbox": [1, 2, 3, float("nan")]}],
        [PAGE | {"absolute": {"x1": 5, "y1": 5, "x2": 1, "y2": 9}}],
        [PAGE | {"absolute": {"x1": 5}}],
        [PAGE | {"relative": [0.1, 0.1, 0.3, 0.2]}],
        [PAGE | {"relative": [0.1, 0.1, 0.3, 0.2], "width": 100, "height": 0}],
        [PAGE | {"relative": [0.1, 0.1, 30, 0.2], "width": 100, "height": 100}],
    ],
)
def test_crops_that_are_malformed_are_refused(entries: Any) -> None:
    with pytest.raises(RequestError, match="crops"):
        read_crops(entries)
