from pathlib import PurePosixPath

import pytest

from app.sources.names import claims_image, explain_name, is_hidden, name_pages, sort_naturally


def to_paths(*texts: str) -> list[PurePosixPath]:
    return [PurePosixPath(text) for text in texts]


@pytest.mark.parametrize(
    "ordered",
    [
        ("page2.jpg", "page10.jpg"),
        ("1v.jpg", "2r.jpg", "10r.jpg"),
        ("c.jpg", "a/9.jpg", "b/1.jpg"),
        ("vol2/10.jpg", "vol10/2.jpg"),
        ("p01.jpg", "p1.jpg", "p2.jpg"),
        ("Page1.jpg", "page2.jpg"),
        ("1" * 5000 + ".jpg", "2" * 5000 + ".jpg"),
        ("a.jpg", "a1.jpg", "²1.jpg", "٣.jpg"),
    ],
)
def test_pages_are_sorted_as_people_number_them(ordered: tuple[str, ...]) -> None:
    assert [str(path) for path in sort_naturally(reversed(to_paths(*ordered)))] == [*ordered]


def test_a_page_has_its_file_name_or_its_path_if_others_have_the_same() -> None:
    assert name_pages(to_paths("a/1.jpg", "b/1.jpg", "b/2.jpg")) == ["a_1.jpg", "b_1.jpg", "2.jpg"]


def test_a_name_that_stays_ambiguous_or_is_invalid_is_left_out() -> None:
    assert name_pages(to_paths("a/1.jpg", "b/1.jpg", "a_1.jpg")) == ["", "b_1.jpg", ""]
    assert name_pages(to_paths(" 1.jpg", "x" * 201)) == ["", ""]


@pytest.mark.parametrize("path", [".DS_Store", "__MACOSX/a/._1.jpg", "a/.thumbs/1.jpg"])
def test_files_of_the_operating_system_are_hidden(path: str) -> None:
    assert is_hidden(PurePosixPath(path))
    assert not is_hidden(PurePosixPath("a/1.jpg"))


@pytest.mark.parametrize(
    ("name", "claims"),
    [("1.JPG", True), ("1.jp2", True), ("1.heic", True), ("1.tiff", True), ("1.txt", False), ("jpg", False)],
)
def test_an_extension_claims_that_a_file_is_an_image(name: str, claims: bool) -> None:
    assert claims_image(PurePosixPath(name)) == claims


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "..", "a\nb", " a", "x" * 201, "\ud800"])
def test_an_unusable_name_has_a_reason(name: str) -> None:
    assert explain_name(name)
    assert explain_name("Ms. 12, fol. 3r.jpg") == ""
