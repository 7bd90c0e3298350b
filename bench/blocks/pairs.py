"""Classify labelled pairs: does a score separate prints of the same block from copies and strangers, and at what cost?

Pairs that share only a part are left out of the curves.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.similarity.verification import extract_features, verify
from app.similarity.verified_pairs import Verdict, Verification
from bench.blocks.labelled import LABELS, PART, SAME, Image, LabelledPair, LabelledPrints
from bench.tables import print_table

PRECISIONS = (0.98, 0.95)
# SIFT as it is usually tried first.
RATIO, REPROJECTION, LARGEST_SCALE = 0.75, 5.0, 3.0


@dataclass(frozen=True)
class Curve:
    """Precision and recall at each threshold of a score, the highest first."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    @property
    def average_precision(self) -> float:
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def find_recall(self, precision: float) -> float:
        """Return the highest recall with at least this precision."""
        return float(max(self.recall[self.precision >= precision], default=0.0))


def trace(scores: Sequence[float], right: Sequence[bool]) -> Curve:
    """Return precision and recall at each distinct value of a score."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    values, hits = np.asarray(scores)[order], np.cumsum(np.asarray(right)[order])
    last = np.flatnonzero(np.append(np.diff(values) != 0, True))
    return Curve(hits[last] / (last + 1), hits[last] / max(1, hits[-1]))


def compare_scores(prints: LabelledPrints) -> dict[str, Curve]:
    """Print tables of all scores and verdicts, and return the curve of each score.

    Times are those of the processor, with one thread.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    features, feature_cost = _run(lambda image: extract_features(image), prints.images)
    found, cost = _run(lambda pair: verify(features[pair.first], features[pair.second]), prints.pairs)
    naive_features, naive_feature_cost = _run(detect_sift, prints.images)
    naive, naive_cost = _run(
        lambda pair: count_naive_inliers(naive_features[pair.first], naive_features[pair.second]), prints.pairs
    )
    cv2.setNumThreads(threads)
    scores = {
        "probability": [each.probability for each in found],
        "inliers of the verification": [each.inliers for each in found],
        "inliers of OpenCV's SIFT, ratio 0.75, RANSAC": naive,
    }
    costs = [(feature_cost, cost)] * 2 + [(naive_feature_cost, naive_cost)]
    counted = [number for number, pair in enumerate(prints.pairs) if pair.label != PART]
    right = [prints.pairs[number].label == SAME for number in counted]
    curves = {name: trace([values[number] for number in counted], right) for name, values in scores.items()}
    head = ["score", "average precision", *(f"recall at precision {each}" for each in PRECISIONS)]
    print_table([*head, "ms/image", "ms/pair"], _format_rows(curves, costs))
    print()
    print_verdicts(prints.pairs, found)
    return curves


def _run(work: Callable[[Any], Any], items: Sequence[Any]) -> tuple[list[Any], float]:
    """Return the results of some work, and its mean cost in milliseconds of the processor."""
    start = time.process_time()
    results = [work(item) for item in items]
    return results, (time.process_time() - start) * 1000 / max(1, len(items))


def _format_rows(curves: Mapping[str, Curve], costs: Sequence[tuple[float, float]]) -> list[list[str]]:
    return [
        [name, f"{curve.average_precision:.3f}", *(f"{curve.find_recall(each):.3f}" for each in PRECISIONS)]
        + [f"{cost:.1f}" for cost in pair]
        for (name, curve), pair in zip(curves.items(), costs, strict=True)
    ]


def print_verdicts(pairs: Sequence[LabelledPair], found: Sequence[Verification]) -> None:
    """Print how many pairs of each label have each verdict, and the precision and recall of ``same``."""
    counts = Counter((pair.label, one.verdict) for pair, one in zip(pairs, found, strict=True))
    rows = [[label, *(counts[label, verdict] for verdict in Verdict)] for label in LABELS]
    print_table(["pairs by label and verdict", *Verdict], rows)
    right = counts[SAME, Verdict.SAME]
    reported = right + sum(counts[label, Verdict.SAME] for label in LABELS if label not in (SAME, PART))
    all_same = sum(counts[SAME, verdict] for verdict in Verdict)
    print(f"\nVerdict `same`: precision {right / max(1, reported):.3f}, recall {right / max(1, all_same):.3f}\n")


def detect_sift(image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return positions and descriptors of OpenCV's SIFT with its default settings."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    points, descriptors = cv2.SIFT_create().detectAndCompute(grey, None)  # type: ignore[attr-defined]
    return np.array([point.pt for point in points], np.float32).reshape(-1, 2), descriptors


def count_naive_inliers(first: Any, second: Any) -> int:
    """Return the number of matches that agree with a similarity transform, in the better of both directions."""
    return max(_count_inliers(first, second), _count_inliers(second, first))


def _count_inliers(first: Any, second: Any) -> int:
    (points, descriptors), (other_points, other_descriptors) = first, second
    if min(len(points), len(other_points)) < 2:
        return 0
    nearest = cv2.BFMatcher().knnMatch(descriptors, other_descriptors, k=2)
    good = [one for one, other in nearest if one.distance < RATIO * other.distance]
    if len(good) < 2:
        return 0
    cv2.setRNGSeed(0)
    transform, inside = cv2.estimateAffinePartial2D(
        points[[each.queryIdx for each in good]],
        other_points[[each.trainIdx for each in good]],
        method=cv2.RANSAC,
        ransacReprojThreshold=REPROJECTION,
    )
    if transform is None:
        return 0
    scale = float(np.hypot(*transform[:, 0]))
    return int(inside.sum()) if 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE else 0
