"""How well the lines of two pictures coincide under a transform.

The first picture is laid over the second one. In each cell of a grid, the small displacement is searched at which the
two correlate best. A smooth displacement is fitted to the cells and corrected: paper shrinks and bends. Prints of one
block then agree in most cells within a pixel. The lines of a copy run close to each other, but their displacements
change from cell to cell.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.similarity.verification.pictures import Matrix, Values, build_scaling

# Longer side of the pictures that are compared, in pixels.
SIDE = 384
# Steps that refine the transform: (reduction, stride, largest displacement), in pixels of the reduced pictures.
STEPS = ((4, 8, 4), (2, 12, 4))
LAST_STRIDE, LAST_REACH = 12, 3
# Cells with less variance than this have no lines to compare.
LEAST_VARIANCE = 0.12
FLOOR = 1e-6
LEAST_CELLS = 8
# A cell agrees if its displacement, less the smooth part, and its correlation are within these limits.
LARGEST_RESIDUAL = 1.0
LEAST_CORRELATION = 0.6
# The fit of the smooth displacement: number of iterations, and scale of its weights in pixels. The scale begins at four
# times this value, and falls.
ITERATIONS, ROBUST_SCALE, FALL = 8, 1.5, 0.7
# Added to the number of compared cells, so that a small overlap, as of two stamps, counts less.
EXTRA_CELLS = 10


@dataclass(frozen=True)
class Agreement:
    """The agreement of two pictures.

    Attributes:
        matrix: ``(2, 3)`` refined transform, from pixels of the first picture to pixels of the second.
        share: Share of the compared cells that agree.
        correlation: Median correlation of the cells.
        cells: ``(m, 2)`` centres of the agreeing cells, in pixels of the second picture from its edges.
        cell: Side of a cell, in pixels of the second picture.
    """

    matrix: Matrix
    share: float
    correlation: float
    cells: NDArray[np.float64]
    cell: float


def measure_agreement(first: Values, second: Values, matrix: Matrix) -> Agreement | None:
    """Refine a transform and measure the agreement of two pictures under it; None if too little can be compared.

    Args:
        first, second: Normalised pictures ``(height, width)``.
        matrix: ``(2, 3)`` transform, from pixels of the first picture to pixels of the second.
    """
    # Neither picture is enlarged: the finer one is reduced to the scale of the other.
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    factor = min(1.0, SIDE / max(second.shape), 1 / scale)
    one, before = _reduce(first, min(1.0, factor * scale))
    two, after = _reduce(second, factor)
    current = _compose(after, matrix, np.linalg.inv(before))
    for reduction, stride, reach in STEPS:
        reduced = [_shrink(each, reduction) for each in (one, two)]
        shrink = build_scaling(1 / reduction, 1 / reduction)
        small = _compose(shrink, current, np.linalg.inv(shrink))
        shape = reduced[1].shape
        fitted = _fit_smooth(_compare_cells(reduced[0], reduced[1], small, stride, reach), shape, degree=1)
        if fitted is None:
            return None
        current = _compose(np.linalg.inv(shrink), _correct(small, fitted[0], shape), shrink)
    cells = _compare_cells(one, two, current, LAST_STRIDE, LAST_REACH)
    fitted = _fit_smooth(cells, two.shape, degree=2)
    if fitted is None:
        return None
    agreeing = (cells[:, 4] > LEAST_CORRELATION) & (fitted[1] < LARGEST_RESIDUAL)
    back = np.linalg.inv(after)
    return Agreement(
        matrix=_compose(back, current, before),
        share=float(agreeing.sum() / (len(cells) + EXTRA_CELLS)),
        correlation=float(np.median(cells[:, 4])),
        cells=cells[agreeing, :2] @ back[:2, :2],
        cell=float(2 * LAST_STRIDE * back[0, 0]),
    )


def _reduce(picture: Values, factor: float) -> tuple[Values, Matrix]:
    """Return a picture reduced by a factor, and the ``(3, 3)`` transform of its pixels."""
    if factor == 1:
        return picture, np.eye(3)
    height, width = picture.shape
    target = max(1, round(width * factor)), max(1, round(height * factor))
    reduced = cv2.resize(picture, target, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.float32), build_scaling(target[0] / width, target[1] / height)


def _shrink(values: Values, factor: int) -> Values:
    shrunk = cv2.resize(values, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.float32)


def _compose(after: Matrix, matrix: Matrix, before: Matrix) -> Matrix:
    """Return the ``(2, 3)`` transform that applies ``before``, then ``matrix``, then ``after``."""
    return np.asarray((after @ np.vstack([matrix, [0, 0, 1]]) @ before)[:2])


def _compare_cells(first: Values, second: Values, matrix: Matrix, stride: int, reach: int) -> NDArray[np.float64]:
    """Find the displacement of each cell of the second picture. Cells are two strides wide and overlap by half.

    All cells are computed at once for each displacement: the product of the pictures, averaged over blocks.

    Returns:
        Rows (centre x, centre y, displacement x, displacement y, correlation), in pixels of the second picture.
    """
    blocks = second.shape[1] // stride, second.shape[0] // stride
    width, height = blocks[0] * stride, blocks[1] * stride
    if min(blocks) < 2:
        return np.empty((0, 5))
    warped = np.asarray(cv2.warpAffine(first, matrix, (width, height), flags=cv2.INTER_LINEAR), np.float32)
    covered: Values = np.asarray(
        cv2.warpAffine(np.ones_like(first), matrix, (width, height), flags=cv2.INTER_NEAREST), np.float32
    )
    field: Values = np.pad(second[:height, :width], reach)
    integral = np.asarray(cv2.integral(field * field))
    side = 2 * reach + 1
    own = _average(warped * warped, blocks)
    scores = np.empty((side * side, *own.shape), np.float32)
    product = np.empty_like(warped)
    for place in range(side * side):
        y, x = divmod(place, side)
        np.multiply(warped, field[y : y + height, x : x + width], out=product)
        other = _average_squares(integral[y : y + height + 1, x : x + width + 1], stride)
        scores[place] = _average(product, blocks) / np.sqrt(np.maximum(own * other, FLOOR))
    usable = (_average(covered, blocks) > 0.95) & (own > LEAST_VARIANCE)
    usable &= _average_squares(integral[reach : reach + height + 1, reach : reach + width + 1], stride) > LEAST_VARIANCE
    rows, columns = np.nonzero(usable)
    dx, dy, values = _find_peaks(scores[:, rows, columns].reshape(side, side, -1))
    centres = (columns + 1.0) * stride, (rows + 1.0) * stride
    return np.stack([*centres, dx - reach, dy - reach, values], axis=1)


def _average(values: Values, blocks: tuple[int, int]) -> Values:
    """Return the averages over cells of 2 × 2 blocks: one row and one column fewer than there are blocks."""
    means = cv2.resize(values, blocks, interpolation=cv2.INTER_AREA)
    rows = means[:-1] + means[1:]
    return np.asarray((rows[:, :-1] + rows[:, 1:]) / 4, np.float32)


def _average_squares(integral: NDArray[Any], stride: int) -> NDArray[Any]:
    """Return the averages over the same cells, from the integral image of the squares."""
    corners = integral[::stride, ::stride]
    return (corners[2:, 2:] - corners[2:, :-2] - corners[:-2, 2:] + corners[:-2, :-2]) / (2 * stride) ** 2


def _find_peaks(scores: Values) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the position (x, y) of each maximum, interpolated between pixels, and its value.

    Args:
        scores: ``(side, side, m)`` correlations by displacement (y, x) and cell.
    """
    side, _, count = scores.shape
    y, x = np.divmod(scores.reshape(side * side, count).argmax(axis=0), side)
    cells = np.arange(count)
    values = scores[y, x, cells]

    def interpolate(before: Values, after: Values, inner: NDArray[np.bool_]) -> NDArray[np.float64]:
        curvature = before - 2 * values + after
        offset = 0.5 * (before - after) / np.where(curvature < 0, curvature, -1)
        return np.where(inner & (curvature < 0), offset, 0.0)

    left, right = scores[y, np.maximum(x - 1, 0), cells], scores[y, np.minimum(x + 1, side - 1), cells]
    above, below = scores[np.maximum(y - 1, 0), x, cells], scores[np.minimum(y + 1, side - 1), x, cells]
    return (
        x + interpolate(left, right, (x > 0) & (x < side - 1)),
        y + interpolate(above, below, (y > 0) & (y < side - 1)),
        values.astype(np.float64),
    )


def _fit_smooth(
    cells: NDArray[np.float64], shape: tuple[int, ...], degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Fit a polynomial displacement to the cells. Return its coefficients, and the residual length of each cell.

    Iteratively reweighted least squares with the weights of Geman and McClure: cells far from the fit do not count.
    """
    if len(cells) < LEAST_CELLS:
        return None
    height, width = shape
    x, y = cells[:, 0] / width * 2 - 1, cells[:, 1] / height * 2 - 1
    terms = [np.ones_like(x), x, y, *([x * x, x * y, y * y] if degree == 2 else [])]
    basis, displacements = np.stack(terms, axis=1), cells[:, 2:4]
    confidence = np.maximum(cells[:, 4], 0) ** 2
    weights, tolerance = confidence, 4 * ROBUST_SCALE
    ridge = 1e-3 * np.diag([0.0] + [1.0] * (len(terms) - 1)) + 1e-9 * np.eye(len(terms))
    for _ in range(ITERATIONS):
        weighted = basis * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ displacements)
        residuals = np.linalg.norm(displacements - basis @ coefficients, axis=1)
        tolerance = max(ROBUST_SCALE, tolerance * FALL)
        weights = confidence / (1 + (residuals / tolerance) ** 2) ** 2
    return coefficients, residuals


def _correct(matrix: Matrix, coefficients: NDArray[np.float64], shape: tuple[int, ...]) -> Matrix:
    """Return a transform followed by a displacement that is linear in the position."""
    height, width = shape
    linear = np.stack([coefficients[1] * 2 / width, coefficients[2] * 2 / height], axis=1)
    offset = coefficients[0] - coefficients[1] - coefficients[2]
    change = np.eye(2) + linear
    return np.hstack([change @ matrix[:, :2], (change @ matrix[:, 2] + offset)[:, None]])
