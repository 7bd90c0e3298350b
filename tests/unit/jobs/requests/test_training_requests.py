from typing import Any

import pytest

from app.errors import RequestError
from app.jobs.requests import EvaluationRequest, TrainingRequest, read
from app.training.datasets import Split

GOOD = {"data": "pages", "epochs": "20"}
FULL = Split(10, 5, 5)


def test_a_training_is_read_from_its_form_and_from_its_row() -> None:
    request = read(TrainingRequest, GOOD | {"data": "pages.yaml", "model": "best.pt", "name": "mine.pt"})
    assert request == TrainingRequest("pages", 20, "best.pt", "mine")
    assert TrainingRequest.from_json(request.as_json()) == request


def test_a_test_is_read_from_its_form_and_from_its_row() -> None:
    request = read(EvaluationRequest, {"dataset": "pages.yml", "save_dir": "first look", "split": "val"})
    assert request == EvaluationRequest("pages", split="val", save_dir="first look")
    assert EvaluationRequest.from_json(request.as_json()) == request


@pytest.mark.parametrize("epochs", ["0", "-1", "1.5", "ten", "10001", "1e3", "٣", "1" * 5000])
def test_epochs_must_be_a_positive_number(epochs: str) -> None:
    with pytest.raises(RequestError, match="epochs must be a whole number from 1 to 10000"):
        read(TrainingRequest, GOOD | {"epochs": epochs})


@pytest.mark.parametrize("epochs", ["", " "])
def test_epochs_must_be_given(epochs: str) -> None:
    with pytest.raises(RequestError, match=r"^epochs is missing: send the number of epochs"):
        read(TrainingRequest, GOOD | {"epochs": epochs})


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "é", "a" * 81, "a\nb", "a b"])
def test_new_weights_have_a_plain_name(name: str) -> None:
    with pytest.raises(RequestError, match="name must be"):
        read(TrainingRequest, GOOD | {"name": name})


@pytest.mark.parametrize("field", ["data", "dataset"])
def test_a_data_set_must_be_named(field: str) -> None:
    kind = TrainingRequest if field == "data" else EvaluationRequest
    with pytest.raises(RequestError, match=f"^{field} is missing"):
        read(kind, {"epochs": "3"})


@pytest.mark.parametrize(
    ("there", "fault"),
    [
        ({"train": FULL}, "no pages for val"),
        ({"val": FULL, "test": FULL}, "no pages for train.*it has val, test"),
        ({"train": Split(3, 0, 3), "val": FULL}, "pages for train.*have no illustration"),
        ({"train": FULL, "val": Split(3, 0, 3)}, "pages for val.*have no illustration"),
    ],
)
def test_a_training_needs_both_splits_with_illustrations(there: dict[str, Split], fault: str) -> None:
    with pytest.raises(RequestError, match=fault):
        TrainingRequest("pages", 1).check_splits(there)


def test_a_test_takes_the_pages_for_tests_where_there_are_any() -> None:
    assert EvaluationRequest("pages").choose_split(["train", "val", "test"]) == "test"
    assert EvaluationRequest("pages").choose_split(["train", "val"]) == "val"
    assert EvaluationRequest("pages", split="train").choose_split(["train", "val"]) == "train"
    with pytest.raises(RequestError, match="no pages for test: it has train"):
        EvaluationRequest("pages").choose_split(["train"])
    with pytest.raises(RequestError, match="split must be one of train, val, test"):
        read(EvaluationRequest, {"dataset": "pages", "split": "other"})


def test_new_weights_have_the_given_name_or_one_of_model_and_data() -> None:
    job_id = "0123456789abcdef" * 2
    assert TrainingRequest("pages", 1).name_weights("best_04_2024", job_id) == ["best_04_2024_pages_01234567.pt"]
    assert TrainingRequest("pages", 1, name="mine").name_weights("x", job_id) == ["mine.pt", "mine_01234567.pt"]


def test_the_name_of_new_weights_is_no_longer_than_a_file_may_have() -> None:
    (name,) = TrainingRequest("d" * 100, 1).name_weights("été " * 60, "0123456789")
    assert len(name.encode()) < 200
    assert name.endswith("_01234567.pt")


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (TrainingRequest, {"data": "pages", "epochs": 20, "model": "best.pt", "name": "", "notify_url": ""}),
        (EvaluationRequest, {"dataset": "pages", "model": "best.pt", "split": "", "save_dir": "x", "notify_url": ""}),
    ],
)
def test_the_row_of_an_earlier_version_is_read_and_written_as_it_was(kind: Any, row: dict[str, Any]) -> None:
    assert kind.from_json(row).as_json() == row
