"""Evaluation of weights on a split of a data set.

    detector = load_detector(weights, EVALUATION_CONFIG)
    evaluation = evaluate(detector, dataset, "test", folder, report)

The detector and the image size are those of detection jobs. Files written into the folder:

    report.json                         metrics, see ``metrics.Evaluation``
    curve.png                           precision-recall curve
    images/<page>.jpg                   comparison images of pages with ground truth
    images-without-truth/<page>.jpg     comparison images of pages without ground truth
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import Detections
from app.detection.detector import Detector, DetectorConfig
from app.errors import RequestError
from app.images.pixels import UNREADABLE
from app.storage import write_atomic
from app.training.calibration import measure_calibration_error
from app.training.class_names import normalise
from app.training.comparison import Comparison
from app.training.curves import draw_precision_recall
from app.training.datasets import Dataset
from app.training.intervals import add_intervals
from app.training.labelled_page import LabelledPage, TrueBoxes, load_labels, load_page
from app.training.metrics import Evaluation, UnreadablePage, evaluate_pages

# Average precision needs detections of every confidence.
EVALUATION_CONFIG = DetectorConfig(confidence=0.001, most=300, streams=0)

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Page:
    """A page before detection: its pixels, its (width, height) in these pixels, its ground truth."""

    image_name: str
    pixels: NDArray[np.uint8]
    size: tuple[float, float]
    true: TrueBoxes


def evaluate(
    detector: Detector, dataset: Dataset, split: str, folder: Path, report: Report, confidence: float = 0.25
) -> Evaluation:
    """Detect on the pages of a split, and write metrics, curve and comparison images into a folder.

    The files of an earlier evaluation are replaced at the end.

    Args:
        detector: Detector with the settings of :data:`EVALUATION_CONFIG`.
        dataset: Labelled pages.
        split: ``train``, ``val`` or ``test``.
        folder: Output folder.
        report: Callback after each batch, with the number of pages done and of all pages, and during the computation
            of the intervals. If it raises, the evaluation stops.
        confidence: Least confidence for precision and recall, and for the boxes in the comparison images.

    Raises:
        RequestError: If the data set has no such split, or shares no class with the weights.
    """
    paths, class_map = dataset.list_pages(split), match_classes(detector.class_names, dataset.classes)
    pages, unreadable = detect_pages(detector, paths, class_map, report)
    tick = partial(report, len(paths), len(paths))
    evaluation = replace(
        add_intervals(evaluate_pages(pages, dataset.classes, confidence), pages, tick),
        calibration_error=measure_calibration_error(pages),
        unreadable=tuple(unreadable),
        ignored_classes=tuple(name for class_id, name in detector.class_names.items() if class_id not in class_map),
        missing_classes=tuple(name for place, name in enumerate(dataset.classes) if place not in class_map.values()),
    )
    comparison = Comparison(folder, dataset.classes, confidence)
    evaluation = replace(evaluation, drawn=comparison.draw(pages, {image.name: image for image, _ in paths}))
    comparison.replace_images()
    draw_precision_recall(evaluation, folder / "curve.png")
    write_atomic(folder / "report.json", json.dumps(evaluation.as_json(), ensure_ascii=False, indent=1).encode())
    return evaluation


def detect_pages(
    detector: Detector, paths: Sequence[tuple[Path, Path]], class_map: Mapping[int, int], report: Report
) -> tuple[list[LabelledPage], list[UnreadablePage]]:
    """Detect on every readable page, several batches at the same time.

    Args:
        detector: Detector with the settings of :data:`EVALUATION_CONFIG`.
        paths: Image and label file of each page.
        class_map: The data set's class id for each class id of the weights, see :func:`match_classes`.
        report: Callback after each batch, with the number of pages done and of all pages.

    Returns:
        The pages that could be read, and those that could not.
    """
    detected: list[LabelledPage] = []
    unreadable: list[UnreadablePage] = []
    # Detection jobs request images 1.25 times larger than the network's input.
    least = round(1.25 * detector.config.size)

    def work(batch: Sequence[tuple[Path, Path]]) -> tuple[list[LabelledPage], list[UnreadablePage]]:
        loaded = [_load(*pair, least) for pair in batch]
        pages = [each for each in loaded if isinstance(each, _Page)]
        found = detector.detect([page.pixels for page in pages])
        labelled = [
            LabelledPage(page.image_name, page.size, page.true, _translate(detections, class_map))
            for page, detections in zip(pages, found, strict=True)
        ]
        return labelled, [each for each in loaded if isinstance(each, UnreadablePage)]

    for labelled, failed in detector.run(work, detector.split(paths)):
        detected += labelled
        unreadable += failed
        report(len(detected) + len(unreadable), len(paths))
    return detected, unreadable


def _load(image: Path, label: Path, least: int) -> _Page | UnreadablePage:
    try:
        pixels, size = load_page(image, least)
        return _Page(image.name, pixels, size, load_labels(label, size))
    except UNREADABLE as error:
        shown = (str(error) or type(error).__name__).splitlines()[0].replace(f"{image.parent}/", "")[:200]
        return UnreadablePage(image.name, f"The page cannot be read: {shown}")


def _translate(detections: Detections, class_map: Mapping[int, int]) -> Detections:
    """Return the detections of classes in the data set, with the data set's class ids."""
    ids = [class_map.get(class_id, -1) for class_id in detections.class_id.tolist()]
    class_id = np.array(ids, dtype=np.int64)
    known = class_id >= 0
    return Detections(detections.xyxy[known], detections.confidence[known], class_id[known])


# Most class names in a message; weights trained on COCO have 80.
_MOST_NAMES = 20


def match_classes(of_weights: Mapping[int, str], of_dataset: Sequence[str]) -> dict[int, int]:
    """Return the data set's class id for each class id of the weights that both share.

    Classes match by name, see :func:`normalise`. If no name matches and each side has exactly one class, the two
    classes match: for example "illustration" and "figure".

    Raises:
        RequestError: If the weights and the data set share no class.
    """
    places = {normalise(name): place for place, name in reversed(list(enumerate(of_dataset)))}
    known = {class_id: normalise(name) for class_id, name in of_weights.items()}
    shared = {class_id: places[name] for class_id, name in known.items() if name in places}
    if shared:
        return shared
    if len(of_weights) == len(of_dataset) == 1:
        return {next(iter(of_weights)): 0}
    raise RequestError(
        f"The weights and the data set share no class: the weights have {_list(of_weights.values())}; "
        f"the data set has {_list(of_dataset)}. Use the same class names."
    )


def _list(names: Iterable[str]) -> str:
    known = [name[:40] for name in names]
    shown = ", ".join(known[:_MOST_NAMES]) or "none"
    return f"{shown} and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else shown
