"""Run each command of the benchmarks on tiny data and check the tables that it prints."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import timm
import torch

import bench.sample.page
import bench.sample.woodcut
from app.config import ROOT
from bench import request_size, scale, train_default_weights
from bench.__main__ import COMMANDS, list_commands, main
from bench.tables import format_row
from bench.train_default_weights import Stage
from tests.support.small_networks import make_yolo, save_checkpoint

BACKBONE = "timm:test_resnet.r160_in1k"
TIMING = "--rounds 1 --busy 0"
# Command → (arguments, beginnings of lines that it prints).
COMMAND_LINES = {
    "detection": (
        f"--pages {{pages}} --weights {{weights}} --count 2 {TIMING}",
        ["| this project |", "| floor: bare forward pass, same runtime and streams |"],
    ),
    "similarity": ("matching --sizes 30x8 --rounds 1 --busy 1", ["| this project |", "| floor: bare matrix product |"]),
    "request-size": (
        f"--pages {{pages}} {{document}} --weights {{weights}} --sizes 200 {TIMING}",
        ["| 200 |", "| full |", "| file on disk |"],
    ),
    "long-pages": ("--pages {pages}", ["| single pages |", "| scroll | one look | 1 |", "| sheet | `tiles=auto` |"]),
    "engines": (
        f"--pages {{pages}} --batches 1 {TIMING}",
        ["| torch in float32 |", "| torch in bfloat16 |", "| OpenVINO in float32 |", "| OpenVINO in bfloat16 |"],
    ),
    "accuracy": ("--pages {pages}", ["| all | 1 | 1 | 1 |", "| print17 | 1 | 1 | 1 |", "Expected calibration"]),
    "retrieval": (
        f"--pages {{pages}} --backbone {BACKBONE} --folder {{backbones}} --sheets {{out}}",
        ["| mirrored |", "| mirrored and narrower |"],
    ),
    "scale": (
        "--pages 2 --documents 2 --history 5 --json {out}/tables.json --plot {out}/scale.png",
        ["| 2 | 1 |", "| 2 | 3 |", "| 5 |"],
    ),
    "training": (
        "--pages {pages} --weights {weights} --size 64 --rounds 1 --device cpu",
        ["| this project |", "| library |", "| floor: "],
    ),
    "new-kind": (
        "--pages {pages} --weights {weights} --kind p --epochs 1 --size 64",
        ["| start weights |", "| trained |", "| published"],
    ),
    "train-weights": ("--pages {pages} --pictures {pictures} --work {out} --out {out}/weights.pt", ["written: "]),
    "synthesis": ("--pages {pages} --out {out} --count 1", []),
    "sample": ("--out {out} --font {font}", []),
    "pictures": ("--folder {out}", ["Written: "]),
    "formats": ("", ["| `coco` | pycocotools |", "| `yolo` | ultralytics |", "| `csv` |"]),
    "check-sample": ("{annotations}", ["4 canvases, 4 illustrations: as drawn"]),
}
# Commands that run a whole service; tests/service/test_bench_commands.py tests them, except for "workers".
SERVICE_COMMANDS = {"comparison", "jobs", "politeness", "search", "soak", "submit", "workers"}
# Command → a file that it writes.
OUTPUT_FILES = {
    "retrieval": "mirrored-own.png",
    "scale": "scale.png",
    "train-weights": "weights.pt",
    "synthesis": "images/train/synthetic_00000.jpg",
    "sample": "truth.json",
    "pictures": "coverage.png",
}


def draw_page(path: Path, labels: str | None) -> None:
    """Write a page of 300 by 400 pixels with a dark picture, and a label file unless ``labels`` is None."""
    page = np.full((400, 300, 3), 220, np.uint8)
    page[150:250, 90:210] = np.random.default_rng(0).integers(0, 160, (100, 120, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), page)
    if labels is not None:
        label = Path(str(path).replace("images", "labels")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(labels)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of a small network with the class of the default weights."""
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "small.pt", make_yolo("illustration"))


@pytest.fixture
def paths(tmp_path: Path, weights: Path) -> dict[str, Path]:
    """Paths of tiny data, by the placeholders in ``COMMAND_LINES``."""
    names = ("pages", "document", "backbones", "out", "pictures")
    paths = {name: tmp_path / name for name in names}
    for folder in paths.values():
        folder.mkdir()
    for name in ("train/print16_a", "train/print16_b", "val/print17_c"):
        draw_page(paths["pages"] / "images" / f"{name}.jpg", "0 0.5 0.5 0.4 0.25\n")
    draw_page(paths["document"] / "images" / "1.jpg", None)
    listed = [{"image": "1.jpg", "illustrations_xywh": [[90, 150, 120, 100]]}]
    (paths["document"] / "illustrations.json").write_text(json.dumps(listed))
    cv2.imwrite(str(paths["pictures"] / "1.png"), np.random.default_rng(1).integers(0, 255, (60, 60, 3)))
    paths["weights"] = weights
    paths["font"] = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    paths["annotations"] = tmp_path / "annotations.txt"
    paths["annotations"].write_text(format_annotations())
    return paths


def format_annotations() -> str:
    """Return the annotation file of the sample document with exactly the true boxes."""
    truth = json.loads((ROOT / "iiif" / "sample" / "truth.json").read_text())
    rows = []
    for number, (name, boxes) in enumerate(truth.items(), 1):
        rows += [f"{number} {name}", *(" ".join(map(str, box)) for box in boxes)]
    return "\n".join(rows) + "\n"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread of torch: on a busy machine, several threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the recipes: one training stage, a corner of each sample page, few repetitions of a measurement."""
    stage = Stage(1, epochs=1, learning_rate=0.001, final_rate=0.1, mosaic=0.5, close_mosaic=0, seed=0, size=64)
    monkeypatch.setattr(train_default_weights, "STAGES", (stage, stage))
    monkeypatch.setattr(train_default_weights, "AVERAGED", (0, 1))
    monkeypatch.setattr(bench.sample.page, "WIDTH", 180)
    monkeypatch.setattr(bench.sample.page, "HEIGHT", 250)
    monkeypatch.setattr(bench.sample.woodcut, "CUT", 1)
    monkeypatch.setattr(scale, "ROUNDS", 2)
    monkeypatch.setattr(request_size, "RESAMPLES", 10)


def run(line: str, paths: dict[str, Path]) -> None:
    main([word.format(**paths) for word in line.split()])


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in SERVICE_COMMANDS])
def test_command_runs_to_its_end(command: str, paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    line, beginnings = COMMAND_LINES[command]
    if command == "retrieval":
        save_random_weights(paths["backbones"])
    run(f"{command} {line}", paths)
    printed = capsys.readouterr().out.splitlines()
    for beginning in beginnings:
        assert [each for each in printed if each.startswith(beginning)], printed
    if command in OUTPUT_FILES:
        assert (paths["out"] / OUTPUT_FILES[command]).stat().st_size


def test_retrieval_ranks_and_verifies_drawn_prints(paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    save_random_weights(paths["backbones"])
    run(f"retrieval --count 2 --verify 1 --backbone {BACKBONE} --folder {{backbones}} --plot {{out}}/curves.png", paths)
    printed = capsys.readouterr().out
    for name in ("grey thumbnail, 32 pixels", BACKBONE, f"{BACKBONE}, all places", "probability", "same"):
        assert f"| {name} |" in printed
    assert (paths["out"] / "curves.png").stat().st_size


def save_random_weights(folder: Path) -> None:
    name = BACKBONE.partition(":")[2]
    torch.manual_seed(0)
    torch.save(timm.create_model(name, pretrained=False).state_dict(), folder / f"timm-{name}.pth")


def test_extraction_prints_speeds_relative_to_floor_and_original(
    paths: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"similarity extraction --pages {{document}} --batch 1 {TIMING}", paths)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[0] == ["| way", "images/s", "time, floor = 1", "speed, original = 1 |"]
    assert {len(row) for row in rows} == {4}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m bench {command}" in capsys.readouterr().out


def test_readme_lists_the_same_commands_as_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    listing, readme = capsys.readouterr().out, (ROOT / "bench" / "README.md").read_text()
    for row in list_commands():
        assert format_row(row) in listing
        assert format_row(row) in readme


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing", "`nothing` is not a command"),
        ("accuracy --pages {out}", "has no JPEG images"),
        ("accuracy --pages {document}/images", "neither labels nor illustrations.json"),
        ("retrieval --pages {pages} --folder {backbones}", "weights"),
        ("retrieval --blocks {out}", "has no labelled prints"),
        ("sample --out {out} --font {out}/none.otf", "There is no font"),
    ],
)
def test_command_exits_with_a_message_when_data_is_missing(line: str, message: str, paths: dict[str, Path]) -> None:
    if line.startswith("accuracy --pages {document}"):
        (paths["document"] / "illustrations.json").unlink()
    with pytest.raises(SystemExit, match=message):
        run(line, paths)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.partition("4 page")[0], "page_0004.jpg is missing from the file"),
        (lambda text: text.replace("367 638", "967 638"), "page_0001.jpg: IoU"),
        (lambda text: text + "1 2 30 40\n", "page_0004.jpg: 3 boxes instead of 2"),
    ],
)
def test_check_sample_reports_each_difference(change, fault: str, paths: dict[str, Path]) -> None:
    paths["annotations"].write_text(change(paths["annotations"].read_text()))
    with pytest.raises(SystemExit, match=fault):
        run("check-sample {annotations}", paths)
