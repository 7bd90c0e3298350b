"""Classes of labels that the archive lists itself, matched by name with those of ``yaml_file``."""

import pytest

from app.errors import RequestError
from app.training.class_names import match_ids
from tests.support.sorted_pages import BOX, PAGE, sort


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", b"initial\nillustration\n"),
        ("labels/classes.txt", b"\xef\xbb\xbfinitial\r\nillustration\r\n"),
        ("obj.names", b"initial\nillustration"),
        ("data.yaml", b"nc: 2\nnames: [initial, illustration]\n"),
        ("data.yaml", b"names: {1: illustration, 0: initial}\n"),
    ],
)
def test_ids_refer_to_the_list_of_classes_in_the_archive(name: str, content: bytes) -> None:
    assert sort({"images/a.jpg": PAGE, "labels/a.txt": BOX, name: content}) == {"test": {"a": ["initial"]}}


@pytest.mark.parametrize(
    "content", [b"train: images", b"names: [a", b"names: !x [a]", b"\xff\xfe", b"download: |\n  import os\n"]
)
def test_a_yaml_file_without_classes_is_ignored(content: bytes) -> None:
    files = {"images/a.jpg": PAGE, "labels/a.txt": BOX, "data.yaml": content}
    assert sort(files) == {"test": {"a": ["illustration"]}}


def test_a_list_of_classes_may_be_in_the_code_page_of_windows() -> None:
    files = {"images/a.jpg": PAGE, "labels/a.txt": BOX, "classes.txt": "lettre ornée\r\n".encode("cp1252")}
    assert sort(files, names=["autre", "lettre ornée"]) == {"test": {"a": ["lettre ornée"]}}


def test_the_nearest_list_of_classes_counts() -> None:
    files = {
        f"{kind}/{split}/{split}.{end}": PAGE if end == "jpg" else BOX
        for split in ("train", "val")
        for kind, end in (("images", "jpg"), ("labels", "txt"))
    }
    files |= {"labels/train/classes.txt": b"initial", "data.yaml": b"names: [illustration]", "x/classes.txt": b"x"}
    assert sort(files) == {"train": {"train": ["initial"]}, "val": {"val": ["illustration"]}}


def test_two_lists_that_differ_are_refused() -> None:
    files = {"images/a.jpg": PAGE, "labels/a.txt": BOX, "classes.txt": b"a", "data.yaml": b"names: [b]"}
    with pytest.raises(RequestError, match=r"classes.txt .* and data.yaml .* list different classes|data.yaml .* and"):
        sort(files)


def test_an_id_beyond_the_list_of_the_archive_is_refused() -> None:
    files = {"images/a.jpg": PAGE, "labels/a.txt": b"1 .5 .5 .2 .4", "classes.txt": b"illustration"}
    with pytest.raises(RequestError, match=r"no class 1; the class ids in classes.txt in dataset_zip are 0\."):
        sort(files)


def test_class_names_match_without_regard_to_case() -> None:
    assert match_ids({"INITIAL": "a.jpg", "illustration ": "a.jpg"}, ["illustration", "initial"]) == {
        "INITIAL": 1,
        "illustration ": 0,
    }
    assert match_ids({"a": "a.jpg", "A": "a.jpg"}, ["A", "a"]) == {"a": 1, "A": 0}
    assert match_ids({}, ["a"]) == {}


def test_a_single_class_matches_whatever_its_name() -> None:
    assert match_ids({"Diagram": "a.jpg", "diagram": "b.jpg"}, ["illustration"]) == {"Diagram": 0, "diagram": 0}


def test_a_class_that_the_data_set_lacks_is_named() -> None:
    with pytest.raises(
        RequestError, match=r"of b.jpg have the class 'dog', but yaml_file has only illustration, initial: "
    ):
        match_ids({"illustration": "a.jpg", "dog": "b.jpg", "cat": "c.jpg"}, ["illustration", "initial"])
