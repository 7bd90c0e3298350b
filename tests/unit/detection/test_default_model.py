import logging
from pathlib import Path

import pytest

from app.detection.weights import DefaultModel, load_default, save_default


def test_the_setting_is_the_default_until_a_choice_is_made(tmp_path: Path) -> None:
    assert load_default(tmp_path / "x.json", "set.pt") == DefaultModel("set.pt")


def test_a_choice_records_its_time_and_the_previous_default(tmp_path: Path) -> None:
    chosen = tmp_path / "data" / "x.json"
    first = save_default(chosen, load_default(chosen, "set.pt"), "one.pt")
    assert load_default(chosen, "set.pt") == first
    assert (first.name, first.previous) == ("one.pt", "set.pt")
    second = save_default(chosen, first, "set.pt")
    assert (second.name, second.previous) == ("set.pt", "one.pt")
    assert first.since is not None
    assert second.since is not None
    assert first.since <= second.since


def test_choosing_the_current_default_changes_nothing(tmp_path: Path) -> None:
    chosen = tmp_path / "x.json"
    assert save_default(chosen, DefaultModel("set"), "set.pt") == DefaultModel("set")
    assert not chosen.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"name": 7}', '{"x": 1}', '{"name": "a", "since": "now"}'])
def test_a_damaged_choice_file_is_ignored(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert load_default(tmp_path / "x.json", "set.pt") == DefaultModel("set.pt")
    assert "the default model is set.pt" in caplog.text
