"""Verify a pair of images."""

from collections.abc import Iterator, Sequence

import numpy as np

from app.similarity.transpositions import Transposition
from app.similarity.verification.agreement import measure_agreement
from app.similarity.verification.local_features import LocalFeatures
from app.similarity.verification.registration import (
    Candidate,
    Matrix,
    build_thumbnail,
    register_pictures,
    register_points,
)
from app.similarity.verification.verdicts import decide
from app.similarity.verified_pairs import Verification

# Rotation or mirroring of the first picture, as a matrix of (x, y) with y downwards.
ORIENTATIONS: dict[Transposition, Matrix] = {
    Transposition.NONE: np.eye(2),
    Transposition.HFLIP: np.diag([-1.0, 1.0]),
    Transposition.VFLIP: np.diag([1.0, -1.0]),
    Transposition.ROT90: np.array([[0.0, 1.0], [-1.0, 0.0]]),
    Transposition.ROT180: -np.eye(2),
    Transposition.ROT270: np.array([[0.0, -1.0], [1.0, 0.0]]),
}
# Whole pictures that correlate less than this are not compared cell by cell.
LEAST_CORRELATION = 0.4


def verify(first: LocalFeatures, second: LocalFeatures, transpositions: Sequence[Transposition] = ()) -> Verification:
    """Decide whether two images show the same printing block, and where.

    The features find turned prints by themselves. The first image is also compared mirrored, and, as a whole, under
    the given transpositions.

    Args:
        first, second: Local features of the two images.
        transpositions: Transpositions of the first image to try beyond ``none`` and ``hflip``.
    """
    best, inliers = None, 0
    for candidate in _list_candidates(first, second, transpositions):
        inliers = max(inliers, candidate.inliers)
        found = measure_agreement(first.picture, second.picture, candidate.matrix)
        if found and (best is None or found.share > best.share):
            best = found
    return decide(best, inliers, first, second)


def _list_candidates(
    first: LocalFeatures, second: LocalFeatures, transpositions: Sequence[Transposition]
) -> Iterator[Candidate]:
    for mirrored in False, True:
        if found := register_points(first, second, mirrored=mirrored):
            yield found
    if min(*first.picture.shape, *second.picture.shape) < 16:
        return
    one, two = build_thumbnail(first.picture), build_thumbnail(second.picture)
    for each in {Transposition.NONE, Transposition.HFLIP, *transpositions}:
        value, found = register_pictures(one, two, ORIENTATIONS[each])
        if found and value >= LEAST_CORRELATION:
            yield found
