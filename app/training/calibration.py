"""Calibration of confidences: of the detections with confidence 0.8, eight in ten should be right.

Platt's method: the logit of the confidence is scaled and shifted, so that the confidences of the validation pages fit
best. In a YOLO, both are multiplied into the last convolution of the head. So the weights themselves are calibrated,
for every program that reads them. The order of the detections, and so the average precision, stays the same.

J. Platt, Probabilistic Outputs for Support Vector Machines, 1999; C. Guo et al., On Calibration of Modern Neural
Networks, 2017 (https://arxiv.org/abs/1706.04599).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.training.labelled_page import LabelledPage
from app.training.metrics import Matches, match_page

if TYPE_CHECKING:
    from torch import nn

# Detections with less confidence are not counted: there are many, and nobody looks at them.
LEAST = 0.05
_BINS = 10
# Strength of the assumption that the confidences need no change, in detections. It decides where there are few pages.
_PRIOR = 10.0
_STEPS = 50
_FITS = 3
# A scale outside these limits comes from too few detections.
_SCALES = (0.2, 5.0)


@dataclass(frozen=True)
class Calibration:
    """Change of the logits of confidences: ``scale * logit + shift``."""

    scale: float = 1.0
    shift: float = 0.0


def fit_calibration(pages: Sequence[LabelledPage]) -> Calibration:
    """Fit the confidences of detections to whether they are correct, at IoU 0.5.

    The first fit has all detections. It decides which detections have at least the confidence ``LEAST``; the following
    fits have only these. Otherwise hundreds of detections that nobody looks at would decide.

    Args:
        pages: Labelled pages that were not used in training, with detections of every confidence.
    """
    matches = Matches.join([match_page(page) for page in pages])
    logits, correct = _to_logits(matches.confidence), matches.correct[:, 0].astype(np.float64)
    calibration, chosen = Calibration(), np.ones(len(logits), bool)
    for _ in range(_FITS):
        if not 0 < correct[chosen].sum() < chosen.sum():
            break
        calibration = _fit(logits[chosen], correct[chosen])
        chosen = calibration.scale * logits + calibration.shift >= np.log(LEAST / (1 - LEAST))
    return calibration


def _fit(logits: NDArray[np.float64], correct: NDArray[np.float64]) -> Calibration:
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)
    parameters = np.array([1.0, 0.0])
    for _ in range(_STEPS):  # Newton's method; the loss is convex, and limited steps reach its minimum from anywhere
        rates = 1 / (1 + np.exp(-inputs @ parameters))
        slope = inputs.T @ (rates - correct) + _PRIOR * (parameters - np.array([1.0, 0.0]))
        curvature = (inputs * (rates * (1 - rates))[:, None]).T @ inputs + _PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        parameters = parameters - step / max(1.0, np.abs(step).max())
    scale, shift = parameters.tolist()
    return Calibration(float(np.clip(scale, *_SCALES)), shift) if np.isfinite(parameters).all() else Calibration()


def calibrate(network: "nn.Module", calibration: Calibration) -> bool:
    """Multiply a calibration into the head of a YOLO.

    Args:
        network: Network to change.
        calibration: Change of the confidences.

    Returns:
        Whether the network has a head that can be calibrated so. Otherwise it is unchanged.
    """
    head: Any = list(network.model)[-1]  # type: ignore[arg-type]
    branches = [
        branch
        for name in ("cv3", "one2one_cv3")
        for branch in getattr(head, name, None) or ()
        if hasattr(branch, "__len__")
    ]
    last = [branch[-1] for branch in branches]
    if not last or any(getattr(each, "bias", None) is None for each in last):
        return False
    for convolution in last:
        convolution.weight.data *= calibration.scale
        convolution.bias.data = convolution.bias.data * calibration.scale + calibration.shift
    return True


def measure_calibration_error(pages: Sequence[LabelledPage]) -> float | None:
    """Return the expected calibration error of detections at or above ``LEAST``; None if there is no such detection.

    It is the mean difference between the confidence and the share of correct detections, over ten ranges of
    confidence, weighted by the detections in each.
    """
    matches = Matches.join([match_page(page) for page in pages])
    sure = matches.confidence >= LEAST
    confidence, correct = matches.confidence[sure].astype(np.float64), matches.correct[sure, 0]
    if not len(confidence):
        return None
    ranges = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    sums = np.bincount(ranges, weights=confidence - correct, minlength=_BINS)
    return float(np.abs(sums).sum() / len(confidence))


def _to_logits(confidence: NDArray[np.float32]) -> NDArray[np.float64]:
    inside = np.clip(confidence.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))
