"""``python -m app evaluate`` and ``models``: figures of weights."""

import shutil
import zipfile
from pathlib import Path

import pytest

from app.command_line.models import read_figures
from app.config import ROOT
from tests.integration.command_line.conftest import SAMPLE, Run
from tests.support.drawn_datasets import draw_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder in the layout of ultralytics."""
    folder = draw_dataset(tmp_path / "pages", train=1, val=3).folder
    (folder / "data.yaml").write_text("names: [illustration]\n")
    return folder


def test_weights_are_evaluated_on_a_folder(command: Run, dataset: Path, tmp_path: Path) -> None:
    done = command("evaluate", dataset, "--out", tmp_path / "out", "--json")
    assert (done.code, done.facts["split"], done.facts["pages"]) == (0, "val", 3), done.stderr
    assert done.facts["overall"]["illustrations"] == 2
    assert {"report.json", "curve.png", "images"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / ".extractor" / "datasets").exists()
    said = command("evaluate", dataset, "--out", tmp_path / "out").stdout
    assert "  95 % intervals, from resampled pages of one document: AP50 " in said
    said = command("evaluate", dataset, "--split", "train", "--out", tmp_path / "out").stdout
    assert "on 1 pages for train, at confidence 0.25" in said
    assert "intervals" not in said


def test_pages_without_illustrations_have_no_average_precision(command: Run, dataset: Path, tmp_path: Path) -> None:
    for image in (dataset / "images" / "val").iterdir():
        shutil.copy(SAMPLE / "page_0002.jpg", image)  # the default weights find an illustration on it
    for label in (dataset / "labels" / "val").iterdir():
        label.write_text("")
    done = command("evaluate", dataset, "--out", tmp_path / "out")
    assert done.code == 0, done.stderr
    assert "0.000       –      –      –        –" in done.stdout


def test_a_data_set_that_cannot_be_used_is_explained(command: Run, dataset: Path, tmp_path: Path) -> None:
    (dataset / "data.yaml").unlink()
    out = ("--out", tmp_path / "out")
    done = command("evaluate", dataset, *out)
    assert (done.code, "name it with --yaml" in done.stderr) == (1, True)
    yaml = tmp_path / "classes.yaml"
    yaml.write_text("names: [cat, dog]\n")
    assert "share no class" in command("evaluate", dataset, "--yaml", yaml, *out).stderr
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../outside.jpg", b"")
    assert command("evaluate", tmp_path / "evil.zip", "--yaml", yaml, *out).code == 1
    assert "not a zip file" in command("evaluate", SAMPLE / "README.md", *out).stderr


def test_the_weights_are_listed_with_the_figures_of_their_cards(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("illustrations.pt", "illustrations.md"):
        shutil.copy(ROOT / "models" / name, models)
    (models / "broken.pt").write_bytes(b"no weights")
    monkeypatch.setenv("MODELS_FOLDER", str(models))
    broken, default = command("models", "--json").facts["models"]
    assert (broken["name"], broken["default"], bool(broken["error"])) == ("broken.pt", False, True)
    assert (default["default"], default["classes"]) == (True, ["illustration"])
    assert default["figures"] == {"precision": 0.885, "recall": 0.876, "AP50": 0.917, "AP50-95": 0.722}
    lines = command("models").stdout.splitlines()
    assert lines[0].startswith("broken.pt: cannot be used: ")
    assert lines[1].startswith("illustrations.pt (default): YOLOv5nu, illustration; precision 0.89")


@pytest.mark.parametrize(
    "card", ["", "| precision |\n", "| precision | recall | AP50 | AP50-95 |\n| - | - | - | - |\n| x |"]
)
def test_a_card_without_figures_has_none(card: str) -> None:
    assert read_figures(card) == {}
