"""The verdict on a pair of images: from the agreement of their lines to a probability, a verdict and regions.

The thresholds were chosen on 608 pairs of woodcuts from chapbooks that were judged by eye (bench/README.md,
verification).
"""

import math

import numpy as np

from app.similarity.verification.agreement import Agreement
from app.similarity.verification.local_features import LocalFeatures
from app.similarity.verification.pictures import Matrix
from app.similarity.verified_pairs import Region, Verdict, Verification

# Logistic regression of "the same block" on the share of agreeing cells. The number of inliers adds nothing to it.
OFFSET, SHARE = -5.62, 34.3
# A pair with at least this probability has the verdict `same` or `part`.
LEAST_PROBABILITY = 0.6
# `same`: the matched region covers at least this share of either image.
LEAST_COVERAGE = 0.6
# `copy?`: the cells correlate at least this well. Less than 1 % of unrelated woodcuts do.
LEAST_COPY_CORRELATION = 0.33
# From positions of pixel centres, as OpenCV counts them, to positions from the edges of the picture, as regions have.
_FROM_EDGES = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])


def decide(agreement: Agreement, inliers: int, first: LocalFeatures, second: LocalFeatures) -> Verification:
    """Return the result for a pair of images.

    Args:
        agreement: Agreement under the best transform.
        inliers: Number of feature matches that agree with this transform.
        first, second: Local features of the two images.
    """
    probability = 1 / (1 + math.exp(-OFFSET - SHARE * agreement.share))
    is_same = probability >= LEAST_PROBABILITY
    if len(agreement.cells) == 0 or not (is_same or agreement.correlation >= LEAST_COPY_CORRELATION):
        return Verification(Verdict.NONE, probability, inliers)
    half = agreement.cell / 2
    (left, top), (right, bottom) = agreement.cells.min(axis=0) - half, agreement.cells.max(axis=0) + half
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    matrix = _FROM_EDGES @ np.vstack([agreement.matrix, [0, 0, 1]]) @ np.linalg.inv(_FROM_EDGES)
    back = np.linalg.inv(matrix)
    region_1, region_2 = _bound(corners @ back[:2, :2].T + back[:2, 2], first), _bound(corners, second)
    covered = min(_share(region_1, first), _share(region_2, second))
    verdict = Verdict.COPY if not is_same else Verdict.SAME if covered >= LEAST_COVERAGE else Verdict.PART
    enlarge, reduce = np.diag([*second.scale, 1.0]), np.diag([1 / first.scale[0], 1 / first.scale[1], 1.0])
    whole = enlarge @ matrix @ reduce
    return Verification(verdict, probability, inliers, region_1, region_2, tuple(whole[:2].ravel().tolist()))


def _bound(points: Matrix, features: LocalFeatures) -> Region:
    """Return the bounding box of points of the picture, in pixels of the full-size image."""
    scaled = points * np.array(features.scale)
    left, top = np.maximum(np.floor(scaled.min(axis=0)), 0)
    right, bottom = np.minimum(np.ceil(scaled.max(axis=0)), np.ceil(features.size))
    return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))


def _share(region: Region, features: LocalFeatures) -> float:
    return region[2] * region[3] / (features.size[0] * features.size[1])
