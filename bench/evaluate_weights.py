"""What weights find on labelled pages: AP50, AP50-95, and precision and recall at the default confidence.

    python bench/evaluate_weights.py models/illustrations.pt PAGES/images/val

Labels are YOLO files in ``labels/`` beside ``images/``. Pages are looked at by the service's own detector. Rows: all
pages, then each kind of document, which is the first word of the file name.
"""

import argparse
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.detection.detector import load_detector  # noqa: E402
from app.detection.weights import ModelStore, isolate_ultralytics  # noqa: E402
from app.training.evaluate import MEASURING  # noqa: E402
from app.training.labelled_page import LabelledPage, TrueBoxes, load_labels  # noqa: E402
from app.training.metrics import ClassFigures, evaluate_pages  # noqa: E402


def load_truth(image: Path, size: tuple[int, int]) -> TrueBoxes:
    """Return the true boxes of an image of a (width, height), from the labels beside it."""
    return load_labels(Path(str(image.with_suffix(".txt")).replace("/images/", "/labels/")), size)


def look_at(weights: Path, folder: Path, size: int) -> list[LabelledPage]:
    """Detect on every page of a folder, at any confidence."""
    isolate_ultralytics()
    detector = load_detector(ModelStore(weights.parent, weights.name).find(), replace(MEASURING, size=size))
    pages = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        (found,) = detector.detect([pixels])
        page_size = pixels.shape[1], pixels.shape[0]
        pages.append(LabelledPage(path.name, page_size, load_truth(path, page_size), found))
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate detection weights on labelled pages.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--confidence", type=float, default=0.25)
    parser.add_argument("--size", type=int, default=640)
    arguments = parser.parse_args()

    pages = look_at(arguments.weights.resolve(), arguments.images.resolve(), arguments.size)
    groups: dict[str, list[LabelledPage]] = defaultdict(list, {"all": pages})
    for page in pages:
        groups[re.split(r"[_.-]", page.image_name)[0]].append(page)
    print(f"at confidence {arguments.confidence}, {arguments.size} pixels")
    print("| pages | count | illustrations | precision | recall | AP50 | AP50-95 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, group in groups.items():
        figures = evaluate_pages(group, ["illustration"], arguments.confidence).overall
        print(
            f"| {name} | {len(group)} | {figures.illustrations} | {' | '.join(format_figures(figures))} |", flush=True
        )


def format_figures(figures: ClassFigures) -> tuple[str, ...]:
    """Return precision, recall, AP50 and AP50-95; 0 where there is none."""
    rates = tuple(f"{figure or 0:.2f}" for figure in (figures.precision, figures.recall))
    return rates + tuple(f"{figure or 0:.3f}" for figure in (figures.ap50, figures.ap50_95))


if __name__ == "__main__":
    main()
