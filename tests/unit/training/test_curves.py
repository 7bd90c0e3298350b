import sys
from pathlib import Path

import pytest
from PIL import Image

from app.training.curves import draw_history, draw_precision_recall
from app.training.history import EpochRecord
from app.training.metrics import evaluate_pages
from tests.support.labelled_pages import build_page

A, B = (0, 0, 100, 100), (200, 0, 300, 100)


def has_ink(path: Path, least: int = 2000) -> bool:
    """Return whether an image shows more than a frame."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return sum(image.convert("L").point(lambda value: 255 if value < 200 else 0).histogram()[255:]) > least


@pytest.mark.parametrize(
    "names",
    [
        ["illustration"],
        ["illustration", "ornament"],
        ["_private", "$\\frac{$", "x" * 200],
        [f"class {number}" for number in range(60)],
    ],
)
def test_a_curve_is_drawn_for_any_class_names(names: list[str], tmp_path: Path) -> None:
    pages = [build_page([(*A, i), (*B, i)], [(*A, 0.9, i), (*B, 0.3, 0)]) for i in range(len(names))]
    draw_precision_recall(evaluate_pages(pages, names, 0.25), tmp_path / "curve.png")
    assert has_ink(tmp_path / "curve.png")


def test_a_curve_without_pages_is_drawn(tmp_path: Path) -> None:
    draw_precision_recall(evaluate_pages([], ["illustration"], 0.25), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()


@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_training_of_any_length_is_drawn(count: int, tmp_path: Path) -> None:
    epochs = [
        EpochRecord(i, 60, {"train/box_loss": 3 / i, "val/box_loss": float("nan")}, 1 - 1 / i, 0.5, 0.6, 0.3)
        for i in range(1, count + 1)
    ]
    draw_history(epochs, tmp_path / "history.png")
    assert has_ink(tmp_path / "history.png")


def test_drawing_does_not_import_pyplot(tmp_path: Path) -> None:
    sys.modules.pop("matplotlib.pyplot", None)
    draw_history([], tmp_path / "history.png")
    assert "matplotlib.pyplot" not in sys.modules
