"""YAML files with class names, and the names of data sets."""

import pytest

from app.errors import RequestError, TooLarge
from app.training.dataset_yaml import check_dataset_name, parse_classes


@pytest.mark.parametrize(
    "text",
    [
        "names: [a, b]",
        "names:\n  - a\n  - b\n",
        "names:\n  0: a\n  1: b\n",
        "names: {1: b, 0: a}",
        '{"names": ["a", "b"]}',
        "path: /etc\ntrain: ../../../root\ndownload: import os; os.system('id')\nnc: 7\nnames: ['a', \"b\"]\n",
        "\ufeffnames: [a, b]",
    ],
)
def test_only_the_class_names_are_read_from_a_yaml_file(text: str) -> None:
    assert parse_classes(text.encode()) == ("a", "b")


def test_class_names_are_read_as_strings() -> None:
    assert parse_classes("names: [no, 1, 2024-01-01, ornée]".encode()) == ("no", "1", "2024-01-01", "ornée")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not a YAML mapping"),
        ("just words", "not a YAML mapping"),
        ("- names", "not a YAML mapping"),
        ("nc: 2", "no list of class names"),
        ("names: illustration", "no list of class names"),
        ("names: [[a], b]", "no list of class names"),
        ("names: {0: [a]}", "no list of class names"),
        ("names: []", "has no classes"),
        ("names: {}", "has no classes"),
        ("names: [a, '']", "name of class 1 "),
        ('names: ["a\\nb"]', "name of class 0 "),
        (f"names: [{'a' * 101}]", "name of class 0 "),
        ("names: [a, b, a]", "the name 'a' for the classes 0 and 2"),
        ("names: {0: a, 2: b}", "not 0, 1, 2"),
        ("names: {a: 0}", "not 0, 1, 2"),
        ("names: {00: a, 0: b}", "not 0, 1, 2"),
        ("names: {0: a, 0: b}", "'0' twice"),
        ("names: [a]\nnames: [b]", "'names' twice"),
        ("{[a]: b}", "not valid YAML"),
        ("names: [a", "not valid YAML: syntax error in line 1"),
        ("names: [a]\n\tb: c", "not valid YAML: syntax error in line 2"),
        ("names: [a]\n--- \nnames: [b]", "not valid YAML"),
        ("names: [\x00]", "not valid YAML"),
        ("[" * 50_000, "not valid YAML"),
        ("{a: " * 20_000, "not valid YAML"),
        ("names: !!python/object/apply:os.system ['id']", "has a tag"),
        ("names: [!!python/name:os.system a]", "has a tag"),
        ("names: !x [a]", "has a tag"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]", "has an alias"),
        ("names: &a [*a]", "has an alias"),
        (f"names: [{', '.join(f'c{n}' for n in range(1001))}]", "has 1001 classes"),
    ],
)
def test_an_invalid_yaml_file_is_rejected_with_one_sentence(text: str, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_classes(text.encode())
    assert fault in caught.value.message
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def test_a_yaml_file_not_in_utf_8_or_too_large_is_rejected() -> None:
    with pytest.raises(RequestError, match="not valid UTF-8"):
        parse_classes("names: [ornée]".encode("latin-1"))
    with pytest.raises(TooLarge, match="100 kB"):
        parse_classes(b"names: [a]\n#" + b"x" * 100_000)


@pytest.mark.parametrize("name", ["eida.yaml", "eida.YML", " eida ", "eida"])
def test_the_suffix_is_not_part_of_the_data_set_name(name: str) -> None:
    assert check_dataset_name(name) == "eida"


@pytest.mark.parametrize(
    "name", ["", ".yaml", "..", "../x", "a/b", "a\\b", ".hidden", "-rf", "a b", "é", "a\n", "x" * 101, "a\0"]
)
def test_a_name_that_could_be_a_path_is_rejected(name: str) -> None:
    with pytest.raises(RequestError, match="cannot be the name of a data set"):
        check_dataset_name(name.replace("a\n", "a\nb"))
