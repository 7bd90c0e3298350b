"""How well weights find what is on the labelled pages of a data set, in figures and in pictures.

    detector = load_detector(weights, MEASURING)
    evaluation = evaluate(detector, dataset, "test", folder, report)

Pages are looked at by the service's own detector, at the size at which it asks libraries for them. What comes of it is
written into the folder: ``report.json``, ``curve.png``, ``images/<page>.jpg``, and pages without a true box apart, as
``images-without-truth/<page>.jpg``.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import Detections
from app.detection.detector import Detector, DetectorConfig
from app.errors import RequestError
from app.images.pixels import load_ahead
from app.storage import write_atomic
from app.training.comparison import Comparison
from app.training.curves import draw_precision_recall
from app.training.datasets import Dataset
from app.training.labelled_page import UNREADABLE, LabelledPage, TrueBoxes, load_labels, load_page
from app.training.metrics import Evaluation, UnreadablePage, evaluate_pages

# How to detect for an evaluation: the average precision takes all that is found, however unsure.
MEASURING = DetectorConfig(confidence=0.001, most=300)

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Page:
    """A page to look at: its pixels, its (width, height) in them, and what is on it."""

    image_name: str
    pixels: NDArray[np.uint8]
    size: tuple[float, float]
    true: TrueBoxes


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
    paths, same = dataset.list_pages(split), match_classes(detector.class_names, dataset.classes)
    pages, unreadable = _look_at(detector, paths, same, report)
    evaluation = replace(
        evaluate_pages(pages, dataset.classes, confidence),
        unreadable=tuple(unreadable),
        ignored_classes=tuple(name for class_id, name in detector.class_names.items() if class_id not in same),
        missing_classes=tuple(name for place, name in enumerate(dataset.classes) if place not in same.values()),
    )
    comparison = Comparison(folder, dataset.classes, confidence)
    evaluation = replace(evaluation, drawn=comparison.draw(pages, {image.name: image for image, _ in paths}))
    comparison.replace_images()
    draw_precision_recall(evaluation, folder / "curve.png")
    write_atomic(folder / "report.json", json.dumps(evaluation.as_json(), ensure_ascii=False, indent=1).encode())
    return evaluation


def _look_at(
    detector: Detector, paths: Sequence[tuple[Path, Path]], same: Mapping[int, int], report: Report
) -> tuple[list[LabelledPage], list[UnreadablePage]]:
    """Detect on every page that can be read, a batch at a time; the next is decoded meanwhile."""
    looked_at: list[LabelledPage] = []
    unreadable: list[UnreadablePage] = []
    size = detector.config.batch_size
    # A little more than the network looks at, as the service asks of libraries.
    least = round(1.25 * detector.config.size)
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    for batch in load_ahead(batches, lambda pair: _load(*pair, least)):
        pages = [each for each in batch if isinstance(each, _Page)]
        unreadable += [each for each in batch if isinstance(each, UnreadablePage)]
        found = detector.detect([page.pixels for page in pages])
        looked_at += [
            LabelledPage(page.image_name, page.size, page.true, _translate(detections, same))
            for page, detections in zip(pages, found, strict=True)
        ]
        report(len(looked_at) + len(unreadable), len(paths))
    return looked_at, unreadable


def _load(image: Path, label: Path, least: int) -> _Page | UnreadablePage:
    try:
        pixels, size = load_page(image, least)
        return _Page(image.name, pixels, size, load_labels(label, size))
    except UNREADABLE as error:
        shown = (str(error) or type(error).__name__).splitlines()[0].replace(f"{image.parent}/", "")[:200]
        return UnreadablePage(image.name, f"The page cannot be read: {shown}")


def _translate(detections: Detections, same: Mapping[int, int]) -> Detections:
    """Return the detections of classes that the data set knows, with its class ids."""
    ids = [same.get(class_id, -1) for class_id in detections.class_id.tolist()]
    class_id = np.array(ids, dtype=np.int64)
    known = class_id >= 0
    return Detections(detections.xyxy[known], detections.confidence[known], class_id[known])


# That a sentence lists; weights trained on COCO have 80.
_MOST_NAMES = 20


def match_classes(of_weights: Mapping[int, str], of_dataset: Sequence[str]) -> dict[int, int]:
    """Return for each class id of the weights that of the data set, where both know the class.

    Classes are known by their names, whatever their order, in capitals or not. Where no name is shared, one class on
    either side is taken for the same: «illustration» and «figure», say.

    Raises:
        RequestError: Weights and data set have nothing to do with each other.
    """
    places = {_normalise(name): place for place, name in reversed(list(enumerate(of_dataset)))}
    known = {class_id: _normalise(name) for class_id, name in of_weights.items()}
    shared = {class_id: places[name] for class_id, name in known.items() if name in places}
    if shared:
        return shared
    if len(of_weights) == len(of_dataset) == 1:
        return {next(iter(of_weights)): 0}
    raise RequestError(
        f"The weights and the data set share no class: the weights find {_list(of_weights.values())}; "
        f"the data set has {_list(of_dataset)}."
    )


def _normalise(name: str) -> str:
    return " ".join(name.casefold().split())


def _list(names: Iterable[str]) -> str:
    known = [name[:40] for name in names]
    shown = ", ".join(known[:_MOST_NAMES]) or "none"
    return f"{shown} and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else shown
