"""``python -m app compare`` and ``search``: the same prints are found, listed and drawn."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from app.config import ROOT
from app.demo.reprint import make_reprint
from tests.integration.command_line.conftest import SAMPLE, Run
from tests.support.small_networks import make_yolo, save_checkpoint

GLOBE = "351,618,1076,1298"


@pytest.fixture(scope="module")
def reprint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Altered copies of the pages of the sample."""
    folder = tmp_path_factory.mktemp("library") / "reprint"
    make_reprint(SAMPLE, folder)
    return folder


def test_the_illustrations_of_two_documents_are_compared(command: Run, reprint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--illustrations", "--transposition", "hflip", "--top", "5", "--out", out)
    done = command("compare", SAMPLE, reprint, *options)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.count("  same ") == 4
    assert "(hflip)" in done.stdout
    with (out / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = json.loads((out / "pairs.json").read_text())
    assert [(row["image_1"], row["verdict"]) for row in rows] == [(p["image_1"]["name"], p["verdict"]) for p in pairs]
    assert [row["verdict"] for row in rows[:5]] == ["same"] * 4 + ["none"]
    assert {(row["document_1"], row["document_2"]) for row in rows} == {("reprint", "sample")}
    assert len(json.loads((out / "groups.json").read_text())) == 4
    with Image.open(out / "pairs.png") as sheet:
        assert sheet.height > sheet.width


def test_whole_pages_are_searched_for_an_image(command: Run, reprint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("search", SAMPLE / "page_0001.jpg", reprint, "--top", "2", "--out", out)
    first = command(*arguments, "--json")
    assert first.code == 0, first.stderr
    best, other = first.facts["matches"]
    assert (best["image"]["name"], best["verdict"], other["verdict"]) == ("leaf_0001.jpg", "same", "none")
    assert json.loads((out / "matches.json").read_text())["matches"] == first.facts["matches"]
    with Image.open(out / "matches.png") as sheet:
        assert sheet.height > 500
    region = command(*arguments, "--xywh", GLOBE)
    assert "part" in region.stdout.splitlines()[1]
    assert not list((out / ".extractor").rglob("*.scores"))  # a search compares no documents with each other
    compared = command("compare", reprint, "--verify", "0", "--out", out, "--json")
    assert compared.facts["pairs"] == 6


def test_illustrations_that_other_weights_detect_are_compared(
    command: Run, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(ROOT / "models" / "illustrations.pt", models)
    save_checkpoint(models / "blind.pt", make_yolo("illustration"))
    monkeypatch.setenv("MODELS_FOLDER", str(models))
    arguments = ("compare", pages, "--illustrations", "--verify", "0", "--out", tmp_path / "out")
    blind = command(*arguments, "--model", "blind")
    assert (blind.code, "has no images" in blind.stderr) == (1, True)
    assert command(*arguments, "--model", "illustrations").code == 0


def test_an_image_that_fails_is_listed(command: Run, pages: Path, tmp_path: Path) -> None:
    (pages / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    arguments = ("compare", pages, "--verify", "0", "--out", tmp_path / "out")
    done = command(*arguments)
    assert done.code == 3
    assert "ms-1: 2 of 3 images compared." in done.stdout
    assert "broken.jpg failed: " in done.stdout
    (pages / "broken.jpg").unlink()
    repaired = command(*arguments, "--json")
    assert (repaired.code, repaired.facts["documents"][0]["failed"]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("compare", "{sample}", "--out", "{out}", "--backbone", "nope"), 1, "'nope' is not among the backbones"),
        (("compare", "{sample}", "--out", "{out}", "--backbone", "dino_vitbase8_pretrain"), 1, "dino_vitbase8"),
        (("compare", "{sample}", "--out", "{out}", "--transposition", "upside"), 2, "upside"),
        (("compare", "{sample}/README.md", "--out", "{out}"), 1, "unsupported format"),
        (("search", "{sample}/README.md", "{sample}", "--out", "{out}"), 1, "README.md is data in an"),
        (("search", "nowhere.jpg", "{sample}", "--out", "{out}"), 1, "nowhere.jpg does not exist or is no file"),
        (("search", "{page}", "{sample}", "--xywh", "9999,0,5,5", "--out", "{out}"), 1, "outside of the image"),
        (("search", "{page}", "{sample}", "--xywh", "all", "--out", "{out}"), 1, "xywh must be x,y,width,height"),
    ],
)
def test_a_wrong_comparison_is_explained(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / "models" / "illustrations.pt", tmp_path / "models")
    monkeypatch.setenv("MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no backbone can be downloaded
    places = {"sample": SAMPLE, "page": SAMPLE / "page_0001.jpg", "out": tmp_path / "out"}
    done = command(*(each.format(**places) for each in arguments))
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr
