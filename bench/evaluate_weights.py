"""What weights find on labelled pages: AP50, AP50-95, and precision and recall at the default confidence.

    python bench/evaluate_weights.py models/illustrations.pt PAGES/images/val

Labels are YOLO files in ``labels/`` beside ``images/``. Pages are looked at by the service's own detector. Rows: all
pages, then each kind of document, which is the first word of the file name.
"""

import argparse
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.detection.boxes import Detections, compute_iou  # noqa: E402
from app.detection.detector import DetectorConfig, load_detector  # noqa: E402
from app.detection.weights import ModelStore, isolate_ultralytics  # noqa: E402

THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class Page:
    """A labelled page: its true boxes ``(n, 4)`` xyxy in pixels, and what was found on it, at any confidence."""

    kind: str
    true: np.ndarray
    found: Detections


def load_labels(image: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the true boxes of an image of a (width, height): ``(n, 4)`` xyxy in pixels."""
    path = Path(str(image.with_suffix(".txt")).replace("/images/", "/labels/"))
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    labels = np.array(rows, dtype=np.float64).reshape(-1, 5)[:, 1:]
    corners = np.concatenate([labels[:, :2] - labels[:, 2:] / 2, labels[:, :2] + labels[:, 2:] / 2], axis=1)
    return corners * np.array([*size, *size])


def match(page: Page, thresholds: np.ndarray) -> np.ndarray:
    """Tell which detections are right at each IoU threshold, ``(n, t)``: the surest first, each truth once."""
    correct = np.zeros((len(page.found), len(thresholds)), dtype=bool)
    overlaps = compute_iou(page.found.xyxy, page.true) if len(page.true) else np.zeros((len(page.found), 0))
    for column, threshold in enumerate(thresholds):
        free = np.ones(len(page.true), dtype=bool)
        for row in np.argsort(-page.found.confidence, kind="stable"):
            candidates = np.where(free, overlaps[row], 0)
            if len(candidates) and candidates.max() >= threshold:
                free[candidates.argmax()] = False
                correct[row, column] = True
    return correct


def compute_ap(pages: list[Page]) -> np.ndarray:
    """Return the average precision at each IoU threshold, interpolated at 101 points as COCO does."""
    correct = np.concatenate([match(page, THRESHOLDS) for page in pages])
    order = np.argsort(-np.concatenate([page.found.confidence for page in pages]), kind="stable")
    hits = correct[order].cumsum(axis=0)
    count = sum(len(page.true) for page in pages)
    recall, precision = hits / max(count, 1), hits / np.arange(1, len(hits) + 1)[:, None]
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    points = np.linspace(0, 1, 101)
    columns = [
        [best[index, t] if (index := np.searchsorted(recall[:, t], point)) < len(best) else 0.0 for point in points]
        for t in range(len(THRESHOLDS))
    ]
    return np.array(columns).mean(axis=1)


def compute_precision_recall(pages: list[Page], confidence: float) -> tuple[float, float]:
    """Return precision and recall at IoU 0.5 and a confidence."""
    right = found = true = 0
    for page in pages:
        sure = page.found.confidence >= confidence
        kept = Detections(page.found.xyxy[sure], page.found.confidence[sure], page.found.class_id[sure])
        right += int(match(replace(page, found=kept), THRESHOLDS[:1]).sum())
        found, true = found + len(kept), true + len(page.true)
    return right / max(found, 1), right / max(true, 1)


def look_at(weights: Path, folder: Path, size: int) -> list[Page]:
    isolate_ultralytics()
    config = DetectorConfig(size=size, confidence=0.001, most=300)
    detector = load_detector(ModelStore(weights.parent, weights.name).find(), config)
    pages = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        (found,) = detector.detect([pixels])
        kind = re.split(r"[_.-]", path.name)[0]
        pages.append(Page(kind, load_labels(path, (pixels.shape[1], pixels.shape[0])), found))
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate detection weights on labelled pages.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--confidence", type=float, default=0.25)
    parser.add_argument("--size", type=int, default=640)
    arguments = parser.parse_args()

    pages = look_at(arguments.weights.resolve(), arguments.images.resolve(), arguments.size)
    groups: dict[str, list[Page]] = defaultdict(list, {"all": pages})
    for page in pages:
        groups[page.kind].append(page)
    print(f"at confidence {arguments.confidence}, {arguments.size} pixels")
    print("| pages | count | illustrations | precision | recall | AP50 | AP50-95 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, group in groups.items():
        precision, recall = compute_precision_recall(group, arguments.confidence)
        ap = compute_ap(group)
        count = sum(len(page.true) for page in group)
        print(
            f"| {name} | {len(group)} | {count} | {precision:.2f} | {recall:.2f} | {ap[0]:.3f} | {ap.mean():.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
