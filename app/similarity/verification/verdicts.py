"""The verdict on a pair of images: from measured agreement to a probability."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from app.similarity.verification.agreement import Agreement
from app.similarity.verification.local_features import LocalFeatures
from app.similarity.verified_pairs import Region, Verdict, Verification


def decide(agreement: Agreement | None, inliers: int, first: LocalFeatures, second: LocalFeatures) -> Verification:
    """Return the verdict on a pair (first version)."""
    if agreement is None or agreement.share < 0.15:
        return Verification(Verdict.NONE, inliers=inliers)
    probability = 1 / (1 + math.exp(-25 * (agreement.share - 0.35)))
    half = agreement.cell / 2
    low, high = agreement.cells.min(axis=0) - half, agreement.cells.max(axis=0) + half
    inverse = cv2.invertAffineTransform(agreement.matrix)
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], [high[0], high[1]]])
    back = corners @ inverse[:, :2].T + inverse[:, 2]
    one = _region(back, first)
    two = _region(corners, second)
    whole = min(one[2] * one[3] / (first.size[0] * first.size[1]), two[2] * two[3] / (second.size[0] * second.size[1]))
    verdict = Verdict.COPY if probability < 0.5 else Verdict.SAME if whole >= 0.5 else Verdict.PART
    (ax, ay), (bx, by) = first.scale, second.scale
    full = np.diag([bx, by, 1]) @ np.vstack([agreement.matrix, [0, 0, 1]]) @ np.diag([1 / ax, 1 / ay, 1])
    return Verification(verdict, probability, inliers, one, two, tuple(full[:2].ravel().tolist()))


def _region(points: NDArray[np.float64], features: LocalFeatures) -> Region:
    scaled = points * np.array(features.scale)
    left, top = np.maximum(np.floor(scaled.min(axis=0)), 0)
    right, bottom = np.minimum(np.ceil(scaled.max(axis=0)), features.size)
    return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))
