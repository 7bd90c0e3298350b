"""How good detections are, beside the true boxes: precision, recall and average precision, by class and over all.

The rules are those of COCO (https://cocodataset.org/#detection-eval, Lin et al. 2014): the surest detection of a page
chooses first, among the true boxes of its class that are still free, the one that it overlaps most; the average
precision is the mean of the interpolated precision at 101 recalls; AP50-95 is its mean over ten thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import Detections, compute_iou
from app.training.figures import ClassFigures, CurvePoint, Evaluation

# Least overlaps (IoU) with which a detection may be right; precision, recall and AP50 take the first.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Recalls at which precision is taken, and confidences of the curve.
_RECALLS = np.linspace(0, 1, 101)
_CONFIDENCES = np.linspace(0, 1, 101)

Indices = NDArray[np.intp]
Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """What is on a page.

    Attributes:
        xyxy: Corners ``(n, 4)`` float64, in the pixels of the page.
        class_id: ``(n,)`` int64.
    """

    xyxy: NDArray[np.float64]
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, eq=False)
class LabelledPage:
    """A page with what is on it and what was found on it, at any confidence.

    Attributes:
        image_name: Of its image file.
        size: (width, height) of the page in the pixels of its boxes.
        true: What is on it.
        found: What was found, with the same class ids.
    """

    image_name: str
    size: tuple[float, float]
    true: TrueBoxes
    found: Detections


@dataclass(frozen=True, eq=False)
class _Verdicts:
    """The detections of all pages, the surest first, and whether each is right at each threshold, ``(n, t)``."""

    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    right: NDArray[np.bool_]


def evaluate_pages(pages: Sequence[LabelledPage], class_names: Sequence[str], confidence: float) -> Evaluation:
    """Hold what was found against what is there.

    Args:
        pages: Labelled pages.
        class_names: By class id.
        confidence: At which precision and recall are told; the average precision takes all detections.
    """
    verdicts = _judge(pages)
    true_classes = np.concatenate([page.true.class_id for page in pages]) if pages else np.zeros(0, dtype=np.int64)
    counts = np.bincount(true_classes, minlength=len(class_names)).tolist()
    classes = [
        _measure_class(name, _of_class(verdicts, class_id), counts[class_id], confidence)
        for class_id, name in enumerate(class_names)
    ]
    curve, best_confidence = _build_curve(verdicts, len(true_classes))
    return Evaluation(
        pages=len(pages),
        empty_pages=sum(not len(page.true) for page in pages),
        confidence=confidence,
        iou=float(THRESHOLDS[0]),
        overall=_measure_all(verdicts, classes, confidence),
        classes=tuple(classes),
        best_confidence=best_confidence,
        curve=curve,
    )


def count_errors(page: LabelledPage, confidence: float) -> int:
    """Return how many detections of a page are wrong at a confidence, and true boxes missed, together."""
    sure = page.found.confidence >= np.float32(confidence)
    found = Detections(page.found.xyxy[sure], page.found.confidence[sure], page.found.class_id[sure])
    right = int(_judge([replace(page, found=found)]).right[:, 0].sum())
    return len(found) - right + len(page.true) - right


def _judge(pages: Sequence[LabelledPage]) -> _Verdicts:
    """Tell which detections are right at each threshold."""
    if not pages:
        return _Verdicts(np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros((0, len(THRESHOLDS)), dtype=bool))
    confidence = np.concatenate([page.found.confidence for page in pages])
    class_id = np.concatenate([page.found.class_id for page in pages])
    first_found = np.cumsum([0, *(len(page.found) for page in pages)])
    first_true = np.cumsum([0, *(len(page.true) for page in pages)])
    pairs = [_find_pairs(page) for page in pages]
    found = np.concatenate([each[0] + first for each, first in zip(pairs, first_found[:-1], strict=True)])
    true = np.concatenate([each[1] + first for each, first in zip(pairs, first_true[:-1], strict=True)])
    overlap = np.concatenate([each[2] for each in pairs])
    # The surest first; of one detection's, the pair that overlaps most.
    turns = np.lexsort((true, -overlap, found, -confidence[found]))
    right = np.zeros((len(confidence), len(THRESHOLDS)), dtype=bool)
    for column, threshold in enumerate(THRESHOLDS):
        allowed = turns[overlap[turns] >= threshold]
        right[_choose(found[allowed], true[allowed], len(confidence), int(first_true[-1])), column] = True
    order = np.argsort(-confidence, kind="stable")
    return _Verdicts(confidence[order], class_id[order], right[order])


def _find_pairs(page: LabelledPage) -> tuple[Indices, Indices, Numbers]:
    """Return every detection and true box of one class that overlap enough for the lowest threshold, and how much."""
    if not len(page.found) or not len(page.true):
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
    overlaps = compute_iou(page.found.xyxy, page.true.xyxy)
    overlaps[page.found.class_id[:, None] != page.true.class_id[None]] = 0
    found, true = np.nonzero(overlaps >= THRESHOLDS[0])
    return found, true, overlaps[found, true]


def _choose(found: Indices, true: Indices, all_found: int, all_true: int) -> Indices:
    """Return the detections that get a true box when the pairs are gone through in their order, each box once.

    All pages at once: whoever comes first both for the detection and for the true box has it; then the rest again.
    """
    chosen = []
    while len(found):
        first = _come_first(found, all_found) & _come_first(true, all_true)
        chosen.append(found[first])
        gone_found, gone_true = np.zeros(all_found, dtype=bool), np.zeros(all_true, dtype=bool)
        gone_found[found[first]] = gone_true[true[first]] = True
        left = ~(gone_found[found] | gone_true[true])
        found, true = found[left], true[left]
    return np.concatenate(chosen) if chosen else found


def _come_first(ids: Indices, count: int) -> NDArray[np.bool_]:
    """Tell of each id whether it stands here for the first time."""
    places, first = np.arange(len(ids)), np.zeros(count, dtype=np.intp)
    first[ids[::-1]] = places[::-1]  # what is written last, stays
    return first[ids] == places


def _of_class(verdicts: _Verdicts, class_id: int) -> _Verdicts:
    own = verdicts.class_id == class_id
    return _Verdicts(verdicts.confidence[own], verdicts.class_id[own], verdicts.right[own])


def _measure_class(name: str, verdicts: _Verdicts, true: int, confidence: float) -> ClassFigures:
    found = _count_found(verdicts, confidence)
    right = int(verdicts.right[:found, 0].sum())
    if not true:
        return ClassFigures(name, true, found, right)
    precisions = np.array([_interpolate(column, true) for column in verdicts.right.T])
    return ClassFigures(name, true, found, right, precisions.mean(axis=1).tolist(), precisions[0].tolist())


def _measure_all(verdicts: _Verdicts, classes: Sequence[ClassFigures], confidence: float) -> ClassFigures:
    """Return the figures of all: counts of all boxes; of the average precisions the mean over the classes there are."""
    true, found, right = (sum(getattr(each, name) for each in classes) for name in ("illustrations", "found", "right"))
    there = [each for each in classes if each.illustrations]
    if not there:
        return ClassFigures("all", true, found, right)
    average_precisions = np.mean([each.average_precisions for each in there], axis=0)
    precisions = np.mean([each.precision_at_recall for each in there], axis=0)
    return ClassFigures("all", true, found, right, average_precisions.tolist(), precisions.tolist())


def _interpolate(right: NDArray[np.bool_], true: int) -> Numbers:
    """Return the best precision at each of the 101 recalls or beyond it, and 0 where none goes so far."""
    hits = right.cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(hits / true, _RECALLS)]


def _count_found(verdicts: _Verdicts, confidence: float) -> int:
    return int((verdicts.confidence >= np.float32(confidence)).sum())


def _build_curve(verdicts: _Verdicts, true: int) -> tuple[tuple[CurvePoint, ...], float | None]:
    """Return precision and recall of all boxes at 101 confidences, and the confidence of the highest F1."""
    hits = np.append(0, verdicts.right[:, 0].cumsum())
    points = []
    for confidence in _CONFIDENCES:
        found = _count_found(verdicts, confidence)
        right = int(hits[found])
        points.append(CurvePoint(round(float(confidence), 2), right / found if found else None, _part(right, true)))
    f1 = 2 * hits[1:] / (np.arange(1, len(hits)) + true)
    # Boxes of one confidence are taken together or not at all.
    f1[:-1][verdicts.confidence[:-1] == verdicts.confidence[1:]] = 0
    best = float(verdicts.confidence[f1.argmax()]) if f1.any() else None
    return tuple(points), best


def _part(right: int, true: int) -> float | None:
    return right / true if true else None
