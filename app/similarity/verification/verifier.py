"""Verify a pair of images: propose transforms, measure how well the lines coincide under each, decide."""

from collections.abc import Iterator, Sequence

import numpy as np

from app.similarity.verification.agreement import Agreement, measure_agreement
from app.similarity.verification.local_features import SHORTEST_SIDE, LocalFeatures
from app.similarity.verification.pictures import Matrix
from app.similarity.verification.registration import PointMatches, match_points, register_pictures, register_points
from app.similarity.verification.verdicts import decide
from app.similarity.verified_pairs import Verdict, Verification

# Part of the cache key of stored results. Change it whenever results change.
VERSION = "lines 3"
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
    matches = [match_points(first, second, mirrored=mirrored) for mirrored in (False, True)]
    best: Agreement | None = None
    for matrix in _list_candidates(first, second, matches):
        found = measure_agreement(first.normalised, second.normalised, matrix)
        if found and (best is None or found.share > best.share):
            best = found
        if best and best.share >= SUFFICIENT_SHARE:
            break
    if best is None:
        return Verification(Verdict.NONE)
    is_mirrored = np.linalg.det(best.matrix[:, :2]) < 0
    return decide(best, matches[int(is_mirrored)].count_inliers(best.matrix), first, second)


def _list_candidates(first: LocalFeatures, second: LocalFeatures, matches: Sequence[PointMatches]) -> Iterator[Matrix]:
    """Yield transforms, the most likely ones first."""
    for each in matches:
        if (found := register_points(each)) is not None:
            yield found
    if min(*first.picture.shape, *second.picture.shape) < SHORTEST_SIDE:
        return
    for orientation in ORIENTATIONS:
        if (found := register_pictures(first.thumbnail, second.thumbnail, orientation)) is not None:
            yield found
