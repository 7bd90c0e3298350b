"""Pages and data sets of a few rectangles, for tests of training and evaluation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from app.detection.boxes import Detections
from app.training.datasets import Dataset, Split, save_dataset
from app.training.labelled_page import LabelledPage, TrueBoxes

Box = tuple[float, float, float, float]


def build_page(true: list[Any], found: list[Any], name: str = "page.jpg") -> LabelledPage:
    """Return a page with true boxes ``x1 y1 x2 y2 [class]`` and detections ``x1 y1 x2 y2 confidence [class]``."""
    truth = np.array([[*row, 0][:5] for row in true], dtype=np.float64).reshape(-1, 5)
    rows = np.array([[*row, 0][:6] for row in found], dtype=np.float32).reshape(-1, 6)
    return LabelledPage(
        name, (1000, 1000), TrueBoxes(truth[:, :4], truth[:, 4].astype(np.int64)), Detections.from_rows(rows)
    )


def draw_page(path: Path, size: tuple[int, int], boxes: list[Box] = (), **options: Any) -> None:  # type: ignore[assignment]
    """Write a white page with black rectangles ``x1 y1 x2 y2``."""
    page = Image.new("RGB", size, "white")
    for left, top, right, bottom in boxes:
        ImageDraw.Draw(page).rectangle((left, top, right - 1, bottom - 1), fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, **options)


def build_dataset(folder: Path, pages: dict[str, list[Any]], classes: tuple[str, ...] = ("illustration",)) -> Dataset:
    """Write a data set with the split ``test``: pages of 600 x 800 by name, with boxes ``x1 y1 x2 y2 [class]``."""
    for name, boxes in pages.items():
        draw_page(folder / "images" / "test" / name, (600, 800), [tuple(box[:4]) for box in boxes])
        label = folder / "labels" / "test" / f"{Path(name).stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(_format_row(*[*box, 0][:5]) for box in boxes))
    count = Split(len(pages), sum(map(len, pages.values())), sum(not boxes for boxes in pages.values()))
    dataset = Dataset("rectangles", folder, classes, {"test": count}, 0.0)
    save_dataset(dataset)
    return dataset


def _format_row(left: float, top: float, right: float, bottom: float, class_id: int) -> str:
    return f"{class_id} {(left + right) / 1200} {(top + bottom) / 1600} {(right - left) / 600} {(bottom - top) / 800}\n"


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report
