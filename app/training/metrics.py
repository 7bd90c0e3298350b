"""Metrics of detections against the ground truth: precision, recall and average precision, per class and overall.

    evaluation = evaluate_pages(pages, class_names, confidence)

A detection is correct if its IoU with an unmatched true box of its class reaches the threshold. Detections are matched
in order of confidence, highest first. Average precision is computed by ultralytics, as in the epochs of a training.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import Detections, compute_iou
from app.training.labelled_page import LabelledPage

_DIGITS = 4
# The metrics of a class, by name.
METRICS = ("precision", "recall", "ap50", "ap75", "ap50_95")
# Low and high bound of a metric.
Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of one class, or of all classes together. None where a metric is undefined.

    Attributes:
        name: Class name, or ``all``.
        illustrations: Number of true boxes.
        found: Number of detections at the confidence of the evaluation.
        right: Number of correct detections among them, at IoU 0.5.
        average_precisions: Average precision at IoU 0.5, 0.55 … 0.95; empty without true boxes.
        precision_at_recall: Interpolated precision at recall 0, 0.01 … 1, at IoU 0.5; empty without true boxes.
        intervals: 95 % interval of each metric by name, see :mod:`app.training.intervals`; empty where unknown.
    """

    name: str
    illustrations: int
    found: int
    right: int
    average_precisions: Sequence[float] = ()
    precision_at_recall: Sequence[float] = field(default=(), repr=False)
    intervals: Mapping[str, Interval] = field(default_factory=dict, repr=False)

    @property
    def precision(self) -> float | None:
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        return self.right / self.illustrations if self.illustrations else None

    @property
    def ap50(self) -> float | None:
        return self.average_precisions[0] if self.average_precisions else None

    @property
    def ap75(self) -> float | None:
        return self.average_precisions[5] if self.average_precisions else None

    @property
    def ap50_95(self) -> float | None:
        return sum(self.average_precisions) / len(self.average_precisions) if self.average_precisions else None

    def as_json(self) -> dict[str, Any]:
        counts = {"name": self.name, "illustrations": self.illustrations, "found": self.found, "right": self.right}
        intervals = {name: [_round(bound) for bound in interval] for name, interval in self.intervals.items()}
        curve = [_round(value) for value in self.precision_at_recall]
        figures = {name: _round(getattr(self, name)) for name in METRICS}
        return {**counts, **figures, "intervals": intervals, "precision_at_recall": curve}


@dataclass(frozen=True)
class CurvePoint:
    """Precision and recall of all detections at or above a confidence."""

    confidence: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class UnreadablePage:
    """A page that could not be read, and the reason."""

    image_name: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Metrics of weights on labelled pages.

    Attributes:
        pages: Number of evaluated pages.
        empty_pages: Number of evaluated pages without a true box.
        confidence: Least confidence for precision, recall and the counts.
        iou: Least IoU of a correct detection for precision and recall.
        overall: Metrics over all classes; average precision is the mean over the classes that occur.
        classes: Metrics of each class of the data set.
        best_confidence: Confidence with the highest F1, the harmonic mean of precision and recall.
        curve: Precision and recall at confidence 0, 0.01 … 1.
        unreadable: Pages that could not be read; they are not counted in ``pages``.
        ignored_classes: Classes of the weights that are not in the data set; their detections are not counted.
        missing_classes: Classes of the data set that the weights do not have; all their boxes count as missed.
        drawn: Number of pages with a comparison image.
        documents: Number of documents that the intervals compare; 0 if they compare pages, or without intervals.
        calibration_error: Expected calibration error of the detections, see :mod:`app.training.calibration`.
    """

    pages: int
    empty_pages: int
    confidence: float
    iou: float
    overall: ClassFigures
    classes: tuple[ClassFigures, ...]
    best_confidence: float | None
    curve: tuple[CurvePoint, ...] = field(repr=False)
    unreadable: tuple[UnreadablePage, ...] = ()
    ignored_classes: tuple[str, ...] = ()
    missing_classes: tuple[str, ...] = ()
    drawn: int = 0
    documents: int = 0
    calibration_error: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``; None where a metric is undefined."""
        # Rounded down, so that a threshold of this value keeps the detection with this confidence.
        best = None if self.best_confidence is None else math.floor(self.best_confidence * 10**_DIGITS) / 10**_DIGITS
        return {
            "pages": self.pages,
            "empty_pages": self.empty_pages,
            "confidence": self.confidence,
            "iou": self.iou,
            "overall": self.overall.as_json(),
            "classes": [each.as_json() for each in self.classes],
            "best_confidence": best,
            "curve": [
                {"confidence": each.confidence, "precision": _round(each.precision), "recall": _round(each.recall)}
                for each in self.curve
            ],
            "unreadable": [{"image_name": each.image_name, "reason": each.reason} for each in self.unreadable],
            "ignored_classes": list(self.ignored_classes),
            "missing_classes": list(self.missing_classes),
            "drawn": self.drawn,
            "documents": self.documents,
            "calibration_error": _round(self.calibration_error),
        }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


# Least IoU of a correct detection; precision, recall and AP50 use the first.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Recall values at which precision is reported, and confidences of the curve.
_STEPS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of pages, highest confidence first, and the true boxes.

    Attributes:
        confidence: ``(n,)`` confidences of the detections.
        class_id: ``(n,)`` class ids of the detections.
        correct: ``(n, 10)``: whether a detection is correct at each of ``THRESHOLDS``.
        true_ids: ``(m,)`` class ids of the true boxes.
    """

    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    correct: NDArray[np.bool_]
    true_ids: NDArray[np.int64]

    @classmethod
    def join(cls, pages: Sequence["Matches"]) -> "Matches":
        """Return the matches of several pages as one."""
        confidence = np.concatenate([np.zeros(0, np.float32), *(page.confidence for page in pages)])
        class_id = np.concatenate([np.zeros(0, np.int64), *(page.class_id for page in pages)])
        correct = np.concatenate([np.zeros((0, len(THRESHOLDS)), np.bool_), *(page.correct for page in pages)])
        true_ids = np.concatenate([np.zeros(0, np.int64), *(page.true_ids for page in pages)])
        order = np.argsort(-confidence, kind="stable")
        return cls(confidence[order], class_id[order], correct[order], true_ids)

    def count(self, confidence: float, classes: int) -> tuple[list[int], list[int], list[int]]:
        """Return, by class id, the true boxes, the detections at a confidence, and the correct ones among them."""
        sure = self.confidence >= np.float32(confidence)
        chosen = self.true_ids, self.class_id[sure], self.class_id[sure & self.correct[:, 0]]
        true, found, right = (np.bincount(each, minlength=classes).tolist() for each in chosen)
        return true, found, right


def evaluate_pages(pages: Sequence[LabelledPage], class_names: Sequence[str], confidence: float) -> Evaluation:
    """Compute the metrics of the detections on labelled pages.

    Args:
        pages: Labelled pages.
        class_names: Class names by class id.
        confidence: Least confidence for precision and recall; average precision uses every detection.
    """
    matches = Matches.join([match_page(page) for page in pages])
    overall, *classes = measure_classes(matches, class_names, confidence)
    return Evaluation(
        pages=len(pages),
        empty_pages=sum(not len(page.true) for page in pages),
        confidence=confidence,
        iou=float(THRESHOLDS[0]),
        overall=overall,
        classes=tuple(classes),
        best_confidence=_find_best_confidence(matches),
        curve=tuple(_build_curve(matches)),
    )


def measure_classes(matches: Matches, class_names: Sequence[str], confidence: float) -> list[ClassFigures]:
    """Return the metrics over all classes, then those of each class."""
    counts = matches.count(confidence, len(class_names))
    precisions = _measure_precisions(matches)
    means = [np.mean(each, axis=0).tolist() for each in zip(*precisions.values(), strict=True)]
    true, found, right = counts
    return [ClassFigures("all", sum(true), sum(found), sum(right), *means)] + [
        ClassFigures(name, true[row], found[row], right[row], *precisions.get(row, ()))
        for row, name in enumerate(class_names)
    ]


def count_errors(page: LabelledPage, confidence: float) -> int:
    """Return the number of false positives and missed true boxes of a page at a confidence."""
    sure = page.found.confidence >= np.float32(confidence)
    found = Detections(page.found.xyxy[sure], page.found.confidence[sure], page.found.class_id[sure])
    right = int(match_page(replace(page, found=found)).correct[:, 0].sum())
    return len(found) - right + len(page.true) - right


def match_page(page: LabelledPage) -> Matches:
    """Match the detections of a page with its true boxes."""
    found = page.found
    return Matches(found.confidence, found.class_id, _find_correct(page), page.true.class_id)


def _find_correct(page: LabelledPage) -> NDArray[np.bool_]:
    """Return whether each detection is correct at each threshold, ``(n, 10)``."""
    correct = np.zeros((len(page.found), len(THRESHOLDS)), dtype=bool)
    if not len(page.true):
        return correct
    overlaps = compute_iou(page.found.xyxy, page.true.xyxy) * (page.found.class_id[:, None] == page.true.class_id)
    free = np.ones((len(THRESHOLDS), len(page.true)), dtype=bool)
    for row in np.argsort(-page.found.confidence, kind="stable"):
        candidates = np.where(free, overlaps[row], 0)
        correct[row] = candidates.max(axis=1) >= THRESHOLDS
        free[correct[row], candidates.argmax(axis=1)[correct[row]]] = False
    return correct


def _measure_precisions(matches: Matches) -> dict[int, tuple[list[float], list[float]]]:
    """Return average precisions by threshold and precisions by recall, for each class with true boxes."""
    from app.detection.weights import isolate_ultralytics

    isolate_ultralytics()
    from ultralytics.utils.metrics import ap_per_class  # imports torch, which workers of other queues do not need

    results = ap_per_class(matches.correct, matches.confidence, matches.class_id, matches.true_ids)
    averages, class_ids, recalls, precisions = results[5], results[6], results[10], results[11]
    return {
        class_id: (averages[row].tolist(), np.interp(_STEPS, recalls, precisions[row]).tolist())
        for row, class_id in enumerate(class_ids.tolist())
    }


def _find_best_confidence(matches: Matches) -> float | None:
    """Return the confidence with the highest F1; None if no detection is correct."""
    found = np.arange(1, len(matches.confidence) + 1)
    f1 = 2 * matches.correct[:, 0].cumsum() / (found + len(matches.true_ids))
    # Detections with equal confidence are counted together.
    f1[:-1][matches.confidence[:-1] == matches.confidence[1:]] = 0
    return float(matches.confidence[f1.argmax()]) if f1.any() else None


def _build_curve(matches: Matches) -> Iterator[CurvePoint]:
    """Yield precision and recall of all detections at 101 confidences."""
    true = len(matches.true_ids)
    hits = np.append(0, matches.correct[:, 0].cumsum()).tolist()
    counts = np.searchsorted(-matches.confidence, -_STEPS.astype(np.float32), side="right").tolist()
    for confidence, found in zip(_STEPS.tolist(), counts, strict=True):
        precision, recall = hits[found] / found if found else None, hits[found] / true if true else None
        yield CurvePoint(round(confidence, 2), precision, recall)
