import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from app.training.history import EpochRecord, append_epoch, has_settled, load_history

EPOCH = EpochRecord(1, 61.5, {"train/box_loss": 2.25}, 0.5, 0.25, 0.375, 0.125)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "training" / "history.jsonl"


def test_epochs_are_saved_and_loaded(file: Path) -> None:
    assert load_history(file) == ()
    epochs = tuple(replace(EPOCH, epoch=number, seconds=60.0 + number) for number in (1, 2, 3))
    for epoch in epochs:
        append_epoch(file, epoch)
    assert load_history(file) == epochs


def test_a_repeated_epoch_replaces_the_earlier_one(file: Path) -> None:
    for epoch in (EPOCH, replace(EPOCH, epoch=2), replace(EPOCH, epoch=3), replace(EPOCH, epoch=2, ap50=0.75)):
        append_epoch(file, epoch)
    assert [(record.epoch, record.ap50) for record in load_history(file)] == [(1, 0.375), (2, 0.75), (3, 0.375)]


@pytest.mark.parametrize("left", [b"", b"{", b'{"epoch": 2, "sec', b"\xc3"])
def test_an_incomplete_last_line_is_ignored_and_overwritten(file: Path, left: bytes) -> None:
    append_epoch(file, EPOCH)
    with file.open("ab") as history:
        history.write(left)
    assert load_history(file) == (EPOCH,)
    append_epoch(file, replace(EPOCH, epoch=2))
    assert load_history(file) == (EPOCH, replace(EPOCH, epoch=2))


def test_nan_and_infinity_are_null_in_json(file: Path) -> None:
    append_epoch(file, replace(EPOCH, losses={"train/box_loss": math.nan, "val/box_loss": math.inf}, recall=math.nan))
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["recall"] is None
    (record,) = load_history(file)
    assert all(math.isnan(value) for value in (*record.losses.values(), record.recall))


@pytest.mark.parametrize(
    ("figures", "settled"),
    [
        ([], False),
        ([0.5, 0.4, 0.3], False),
        ([0.5, 0.4, 0.3, 0.2], True),
        ([0.5, 0.5, 0.5, 0.5], True),
        ([0.4, 0.5, 0.4, 0.4], False),
        ([math.nan, 0.5, 0.4, math.nan, 0.3], True),
        ([math.nan] * 5, False),
        ([0.0] * 5, False),
    ],
)
def test_a_training_has_settled_three_epochs_after_its_best_one(figures: list[float], settled: bool) -> None:
    history = [replace(EPOCH, epoch=number, ap50_95=figure) for number, figure in enumerate(figures, 1)]
    assert has_settled(history, 3) is settled
