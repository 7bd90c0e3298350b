"""Verify a pair of images: propose transforms, measure how well the lines coincide under each, decide."""

from collections.abc import Iterator

import numpy as np

from app.similarity.verification.agreement import Agreement, measure_agreement
from app.similarity.verification.local_features import SHORTEST_SIDE, LocalFeatures
from app.similarity.verification.pictures import Matrix
from app.similarity.verification.registration import Candidate, register_pictures, register_points
from app.similarity.verification.verdicts import decide
from app.similarity.verified_pairs import Verification

# Part of the cache key of stored results. Change it whenever results change.
VERSION = "lines 1"
# Mirroring and quarter turns of the first picture, as matrices of (x, y) with y downwards.
ORIENTATIONS: tuple[Matrix, ...] = (
    np.eye(2),
    np.diag([-1.0, 1.0]),
    -np.eye(2),
    np.diag([1.0, -1.0]),
    np.array([[0.0, 1.0], [-1.0, 0.0]]),
    np.array([[0.0, -1.0], [1.0, 0.0]]),
)
# A share of agreeing cells at which no other transform is tried.
SUFFICIENT_SHARE = 0.4


def verify(first: LocalFeatures, second: LocalFeatures) -> Verification:
    """Decide whether two images show the same printing block, and where.

    The images may be mirrored, turned, or differ in scale. Local features find any turn and a shared part. Worn, faint
    and heavily inked prints share few features; these are found by the whole picture.

    Args:
        first, second: Local features of the two images.
    """
    best: Agreement | None = None
    inliers = 0
    for candidate in _list_candidates(first, second):
        inliers = max(inliers, candidate.inliers)
        found = measure_agreement(first.normalised, second.normalised, candidate.matrix)
        if found and (best is None or found.share > best.share):
            best = found
        if best and best.share >= SUFFICIENT_SHARE:
            break
    return decide(best, inliers, first, second)


def _list_candidates(first: LocalFeatures, second: LocalFeatures) -> Iterator[Candidate]:
    """Yield transforms, the most likely ones first."""
    for mirrored in False, True:
        if found := register_points(first, second, mirrored=mirrored):
            yield found
    if min(*first.picture.shape, *second.picture.shape) < SHORTEST_SIDE:
        return
    for orientation in ORIENTATIONS:
        if found := register_pictures(first.thumbnail, second.thumbnail, orientation):
            yield found
