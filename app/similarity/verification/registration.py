"""Candidate transforms of the first picture onto the second: from matched features, and from the whole pictures.

A transform is a ``(2, 3)`` matrix, from pixels of the first picture to pixels of the second.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from app.similarity.verification.local_features import LocalFeatures
from app.similarity.verification.pictures import THUMBNAIL, Matrix, Thumbnail, Values, build_scaling

# A match must be this much nearer than the second nearest (Lowe 2004), and mutual.
RATIO = 0.85
# RANSAC tolerance, in pixels of the picture.
TOLERANCE = 5.0
LEAST_INLIERS = 5
LARGEST_SCALE = 4.0
# Share of each side of the first thumbnail that is searched for in the second one.
CORE = 0.7
# Pictures whose proportions differ by more than this factor do not show the same block as a whole.
LARGEST_STRETCH = 1.6
# Relative scales that are tried. The boxes of a detector differ by a fifth of their sides.
SCALES = (0.84, 0.92, 1.0, 1.09, 1.19)
# Whole pictures that correlate less than this do not show the same design. This excludes 99 % of unrelated woodcuts and
# less than 1 % of the prints of one block.
LEAST_CORRELATION = 0.45


@dataclass(frozen=True)
class PointMatches:
    """Points of two pictures that are alike.

    Attributes:
        source, target: ``(m, 2)`` positions (x, y) in pixels of the first and of the second picture.
        mirrored: Whether the first picture was mirrored for the match.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    mirrored: bool

    def count_inliers(self, matrix: Matrix) -> int:
        """Return the number of matches that agree with a ``(2, 3)`` transform of the first picture."""
        distances = np.linalg.norm(self.source @ matrix[:, :2].T + matrix[:, 2] - self.target, axis=1)
        return int((distances < TOLERANCE).sum())


@lru_cache(1)
def _mirrored_order() -> NDArray[np.intp]:
    """Return the order of the 128 values of a descriptor of the mirrored image.

    A SIFT descriptor has 4 rows × 4 columns × 8 directions, in the frame of the point's own direction.
    """
    rows, columns, directions = np.meshgrid(np.arange(4), np.arange(4), np.arange(8), indexing="ij")
    return ((3 - rows) * 32 + columns * 8 + (8 - directions) % 8).ravel()


def match_points(first: LocalFeatures, second: LocalFeatures, *, mirrored: bool) -> PointMatches:
    """Return the points that are mutual nearest neighbours by their descriptors, and pass the ratio test."""
    rows = first.unit_descriptors[:, _mirrored_order()] if mirrored else first.unit_descriptors
    others = second.unit_descriptors
    if len(rows) < 2 or len(others) < 2:
        return PointMatches(first.points[:0], second.points[:0], mirrored)
    cosines = rows @ others.T
    nearest = cosines.argmax(axis=1)
    owners = np.arange(len(rows))
    best = cosines[owners, nearest]
    mutual = cosines.argmax(axis=0)[nearest] == owners
    cosines[owners, nearest] = -1.0
    runner_up = cosines.max(axis=1)
    # Distances of unit vectors: d² = 2 - 2 cos.
    kept = mutual & (1 - best < RATIO**2 * (1 - runner_up))
    return PointMatches(first.points[kept], second.points[nearest[kept]], mirrored)


def register_points(matches: PointMatches) -> Matrix | None:
    """Return the transform that most matches agree with; None if fewer than ``LEAST_INLIERS`` do."""
    if len(matches.source) < LEAST_INLIERS:
        return None
    flip = np.array([-1.0 if matches.mirrored else 1.0, 1.0], np.float32)
    found, inliers = cv2.estimateAffinePartial2D(
        matches.source * flip,
        matches.target,
        method=cv2.RANSAC,
        ransacReprojThreshold=TOLERANCE,
        maxIters=2000,
        confidence=0.999,
    )
    if found is None or inliers.sum() < LEAST_INLIERS:
        return None
    matrix = np.asarray(found, np.float64)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return matrix * [*flip, 1.0] if 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE else None


def register_pictures(first: Thumbnail, second: Thumbnail, orientation: Matrix) -> Matrix | None:
    """Search the core of the first picture in the second one. Return the transform, or None if it is not found.

    Args:
        first, second: Thumbnails of the two pictures.
        orientation: ``(2, 2)`` matrix of a mirroring or a quarter turn of the first picture.
    """
    turned, turn = _orient(first.values, orientation)
    height, width = turned.shape
    if not 1 / LARGEST_STRETCH < width / height * second.values.shape[0] / second.values.shape[1] < LARGEST_STRETCH:
        return None
    top, left = int(height * (1 - CORE) / 2), int(width * (1 - CORE) / 2)
    core = np.ascontiguousarray(turned[top : height - top, left : width - left])
    margin = THUMBNAIL // 4
    field = cv2.copyMakeBorder(second.values, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    best, placed = LEAST_CORRELATION, None
    for scale in SCALES:
        template = cv2.resize(core, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        if template.shape[0] > field.shape[0] or template.shape[1] > field.shape[1]:
            continue
        correlations = cv2.matchTemplate(field, template, cv2.TM_CCOEFF_NORMED)
        _, value, _, (x, y) = cv2.minMaxLoc(correlations)
        if value > best:
            best = value
            placed = build_scaling(scale, scale)
            placed[:2, 2] += x - margin - scale * left, y - margin - scale * top
    if placed is None:
        return None
    enlarge = build_scaling(1 / second.scale[0], 1 / second.scale[1])
    reduce = build_scaling(*first.scale)
    return (enlarge @ placed @ turn @ reduce)[:2]


def _orient(values: Values, orientation: Matrix) -> tuple[Values, Matrix]:
    """Mirror or turn a picture. Return it with the ``(3, 3)`` transform of its pixels."""
    height, width = values.shape
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]) @ orientation.T
    left, top = corners.min(axis=0)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = orientation, (-left, -top)
    size = (round(float(np.ptp(corners[:, 0]))) + 1, round(float(np.ptp(corners[:, 1]))) + 1)
    return np.asarray(cv2.warpAffine(values, matrix[:2], size, flags=cv2.INTER_NEAREST), np.float32), matrix
