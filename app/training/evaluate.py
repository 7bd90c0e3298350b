"""How well weights find what is on the labelled pages of a data set, in figures and in pictures.

    detector = load_detector(weights, MEASURING)
    evaluation = evaluate(detector, dataset, "test", folder, report)

Pages are looked at by the service's own detector, at the size at which it asks libraries for them. In the folder are then
``report.json``, ``curve.png``, ``images/<page>.jpg`` and, of pages without true boxes, ``images-without-truth/<page>.jpg``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.detection.detector import Detector, DetectorConfig
from app.pixels import load_ahead
from app.training.classes import match_classes
from app.training.datasets import Dataset
from app.training.figures import Evaluation, UnreadablePage
from app.training.metrics import LabelledPage, evaluate_pages

# How to detect for an evaluation: the average precision takes all that is found, however unsure.
MEASURING = DetectorConfig(confidence=0.001, most=300)

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A page with its pixels; without them and with the reason, when it cannot be read."""

    page: LabelledPage
    pixels: NDArray[np.uint8] | None = None
    reason: str = ""


def evaluate(
    detector: Detector, dataset: Dataset, split: str, folder: Path, report: Report, confidence: float = 0.25
) -> Evaluation:
    """Look at the pages of a split, and write figures, curve and comparison images into a folder.

    What an earlier evaluation left there is replaced at the end.

    Args:
        detector: Configured as :data:`MEASURING` has it.
        dataset: Labelled pages.
        split: ``train``, ``val`` or ``test``.
        folder: To write into.
        report: Told after every batch how many pages of how many are done; what it raises ends the evaluation.
        confidence: At which precision and recall are told, and which the detections in the images have at least.

    Raises:
        RequestError: The data set has no such split, or the weights know none of its classes.
    """
    pages, same = dataset.list_pages(split), match_classes(detector.class_names, dataset.classes)
    looked_at: list[LabelledPage] = []
    unreadable: list[UnreadablePage] = []
    size, done = detector.config.batch_size, 0
    # A little more than the network looks at, as the service asks of libraries.
    least = round(1.25 * detector.config.size)
    batches = [pages[start : start + size] for start in range(0, len(pages), size)]
    for batch in load_ahead(batches, lambda paths: _load(*paths, least)):
        readable = [each for each in batch if each.pixels is not None]
        found = detector.detect([each.pixels for each in readable if each.pixels is not None])
        looked_at += [
            replace(each.page, found=_translate(detections, same, each.page.size, each.pixels))
            for each, detections in zip(readable, found, strict=True)
        ]
        unreadable += [UnreadablePage(each.page.image_name, each.reason) for each in batch if each.pixels is None]
        done += len(batch)
        report(done, len(pages))
    evaluation = replace(
        evaluate_pages(looked_at, dataset.classes, confidence),
        unreadable=tuple(unreadable),
        ignored_classes=tuple(name for class_id, name in detector.class_names.items() if class_id not in same),
        missing_classes=tuple(name for place, name in enumerate(dataset.classes) if place not in same.values()),
    )
    return _write(evaluation, looked_at, dict(pages), dataset.classes, folder)
