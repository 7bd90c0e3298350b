"""Valid and invalid label files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import RequestError
from app.training.label_formats.yolo import ClassList, format_labels, parse_labels

NAMES = ["illustration", "initial"]
IDS = {"illustration": 0, "initial": 1}


def parse(text: str, keypoints: int = 0) -> list[tuple[int, list[float]]]:
    found = parse_labels(text.encode(), "a.txt", ClassList(NAMES, keypoints=keypoints))
    return [(IDS[box.class_name], [round(edge, 6) for edge in box.xyxy]) for box in found]


def test_a_row_is_a_class_and_a_box_with_centre_and_size() -> None:
    assert parse("0 0.5 0.5 0.2 0.4\n1 0.25 0.25 0.5 0.5") == [(0, [0.4, 0.3, 0.6, 0.7]), (1, [0, 0, 0.5, 0.5])]


@pytest.mark.parametrize(
    "text", ["\ufeff0 .5 .5 .2 .4", "0 .5 .5 .2 .4\r\n\r\n", "0.0\t5e-1 0.5 2E-1 +0.4 ", "0 .5 .5 .2 .4\n0 .5 .5 .2 .4"]
)
def test_variants_of_other_tools_are_read_and_duplicates_dropped(text: str) -> None:
    assert parse(text) == [(0, [0.4, 0.3, 0.6, 0.7])]


def test_an_empty_file_is_a_page_without_illustrations() -> None:
    assert parse("") == parse(" \n\n") == []


def test_a_polygon_is_read_as_its_bounding_box() -> None:
    assert parse("1 0.1 0.2 0.5 0.2 0.3 0.9") == [(1, [0.1, 0.2, 0.5, 0.9])]
    assert parse("1 0 0 1 0 1 1 0 1 0 0") == [(1, [0, 0, 1, 1])]


def test_a_file_may_have_boxes_and_polygons() -> None:
    """COCO files with few polygons are converted to it: https://github.com/ultralytics/ultralytics/pull/25672"""
    assert parse("0 0.5 0.5 0.2 0.4\n1 0.1 0.2 0.5 0.2 0.3 0.9") == [
        (0, [0.4, 0.3, 0.6, 0.7]),
        (1, [0.1, 0.2, 0.5, 0.9]),
    ]


def test_a_rotated_box_is_read_as_its_bounding_box() -> None:
    """The corners of an oriented box: https://docs.ultralytics.com/datasets/obb/."""
    assert parse("0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5") == [(0, [0.1, 0.1, 0.9, 0.9])]


@pytest.mark.parametrize("last", ["0.87", "1", "12"])
def test_a_confidence_or_the_id_of_a_track_is_ignored(last: str) -> None:
    """Tracks in exports of CVAT: https://docs.cvat.ai/docs/dataset_management/formats/format-yolo-ultralytics."""
    assert parse(f"0 0.5 0.5 0.2 0.4 {last}") == [(0, [0.4, 0.3, 0.6, 0.7])]


@pytest.mark.parametrize(
    ("keypoints", "row"),
    [
        (0, "0.45 0.4 2 0.5 0.5 1 0 0 0"),  # 9 values that follow the box cannot be a polygon
        (0, "0.45 0.4 2 0.5 0.5 0"),  # neither can a coordinate be 2
        (6, "0.45 0.4 1 0.5 0.5 1"),
        (4, "0.45 0.4 0.5 0.5"),
    ],
)
def test_the_box_of_a_pose_is_read_without_its_keypoints(keypoints: int, row: str) -> None:
    """Keypoints with and without visibility: https://docs.ultralytics.com/datasets/pose/."""
    assert parse(f"0 0.5 0.5 0.2 0.4 {row}", keypoints) == [(0, [0.4, 0.3, 0.6, 0.7])]


def test_a_box_slightly_beyond_the_page_is_clipped() -> None:
    assert parse("0 0.0999999 0.5 0.2000001 1.03") == [(0, [0, 0, 0.2, 1])]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2 0.5 0.5 0.2 0.4", "a.txt, line 2: there is no class 2; the class ids in yaml_file are 0 to 1"),
        ("-1 0.5 0.5 0.2 0.4", "no class -1"),
        ("0.5 0.5 0.5 0.2 0.4", "no class 0.5"),
        ("0 0.5 0.5 0.2", "there are 4 numbers instead of 5"),
        ("0 0.5 0.5 0.2 0.4 1.9", "there are 6 numbers instead of 5"),
        ("0 0.1 0.2 0.5 0.2 0.3 0.9 0.1", "there are 8 numbers"),
        ("0 nan 0.5 0.2 0.4", "not all values are numbers"),
        ("0 inf 0.5 0.2 0.4", "not all values are numbers"),
        ("0 1_0 0.5 0.2 0.4", "not all values are numbers"),
        ("0 ٥ 0.5 0.2 0.4", "not all values are numbers"),
        ("0 0,5 0,5 0,2 0,4", "not all values are numbers"),
        ("diagram 0.5 0.5 0.2 0.4", "not all values are numbers"),
        ("0 1e999 0.5 0.2 0.4", "the values are pixels, not fractions of the page"),
        ("0 320 240 50 60", "the values are pixels, not fractions of the page"),
        ("0 10 20 300 20 300 90", "the values are pixels, not fractions of the page"),
        ("0 0.9 0.5 0.4 0.4", "the box extends beyond the page"),
        ("0 0.5 0.5 0 0.4", "the box has no area"),
        ("0 0.5 0.5 0.2 -0.4", "the box has no area"),
        ("0 1.005 0.5 0.01 0.4", "the box has no area"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "the box has no area"),
    ],
)
def test_an_invalid_row_is_reported_with_file_and_line(row: str, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(f"0 0.5 0.5 0.2 0.4\n{row}\n")
    assert caught.value.message.startswith("a.txt, line 2: ")
    assert fault in caught.value.message


@pytest.mark.parametrize("data", ["0 0.5 0.5 0.2 0.4".encode("utf-16"), b"0 0.5 0.5 0.2 0.4 \xe9"])
def test_a_label_file_not_in_utf_8_is_named(data: bytes) -> None:
    with pytest.raises(RequestError, match=r"^a\.txt is not valid UTF-8"):
        parse_labels(data, "a.txt", ClassList(NAMES))


@given(st.lists(st.tuples(st.integers(0, 1), *[st.floats(-1, 2)] * 4), max_size=3))
def test_accepted_labels_can_be_written_and_read_again(rows: list[tuple[float, ...]]) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    try:
        found = parse_labels(text.encode(), "a.txt", ClassList(NAMES))
    except RequestError:
        return
    again = parse_labels(format_labels(found, IDS).encode(), "a.txt", ClassList(NAMES))
    assert len(again) <= len(found)  # two boxes may become equal by rounding
    for box in found:
        assert any(box.xyxy == pytest.approx(other.xyxy, abs=2e-6) for other in again)
