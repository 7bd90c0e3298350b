"""The figures of an evaluation, as they are kept and shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_DIGITS = 4


@dataclass(frozen=True)
class ClassFigures:
    """How well illustrations of a class are found, or all of them. A figure that nothing can be told of is None.

    Attributes:
        name: Of the class; ``all``.
        illustrations: True boxes.
        found: Detections at the confidence of the evaluation.
        right: Those of them that are right, at IoU 0.5.
        average_precisions: At IoU 0.5, 0.55 … 0.95; none without true boxes.
        precision_at_recall: Interpolated precision at the recalls 0, 0.01 … 1, at IoU 0.5; none without true boxes.
    """

    name: str
    illustrations: int
    found: int
    right: int
    average_precisions: Sequence[float] = ()
    precision_at_recall: Sequence[float] = field(default=(), repr=False)

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
    def ap50_95(self) -> float | None:
        return sum(self.average_precisions) / len(self.average_precisions) if self.average_precisions else None

    def as_json(self) -> dict[str, Any]:
        figures = {name: _round(getattr(self, name)) for name in ("precision", "recall", "ap50", "ap50_95")}
        counts = {"name": self.name, "illustrations": self.illustrations, "found": self.found, "right": self.right}
        return {**counts, **figures, "precision_at_recall": [_round(value) for value in self.precision_at_recall]}


@dataclass(frozen=True)
class CurvePoint:
    """Precision and recall of all boxes when those below a confidence are dropped."""

    confidence: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class UnreadablePage:
    """A page that could not be looked at, and why."""

    image_name: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What weights find on labelled pages.

    Attributes:
        pages: That were looked at.
        empty_pages: Those of them without a true box.
        confidence: At which precision, recall and the counts are told.
        iou: Least overlap with which a detection counts as right there.
        overall: All boxes together; of the average precisions the mean over the classes that occur.
        classes: Each class of the data set.
        best_confidence: That of the highest F1, the harmonic mean of precision and recall.
        curve: Precision and recall at the confidences 0, 0.01 … 1.
        unreadable: Pages that are not among the counted.
        ignored_classes: Of the weights, unknown to the data set: what they found is not counted.
        missing_classes: Of the data set, unknown to the weights: all missed.
        drawn: Pages of which there is a comparison image.
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

    def as_json(self) -> dict[str, Any]:
        """Return all of it; what is None cannot be told: the precision where nothing was found, say."""
        # Rounded up, it would drop the very box that it is the confidence of.
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
        }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
