"""How well the lines of two pictures coincide under a transform.

The first picture is laid over the second one. In each cell of a grid, the small displacement is searched at which the
two correlate best. A smooth displacement is fitted to the cells and corrected: paper shrinks and bends. Prints of one
block then agree in most cells within a pixel. The lines of a copy run close to each other, but their displacements
change from cell to cell.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.similarity.verification.registration import Matrix, normalise

# Longer side of the pictures that are compared, in pixels.
SIDE = 256
RADIUS = 8.0
# Cells of each step, in pixels: (side, stride, largest displacement). The first ones refine the transform.
STEPS = ((40, 20, 10), (32, 16, 6))
LAST_STEP = (24, 12, 4)
# Cells with less deviation than this have no lines to compare.
LEAST_DEVIATION = 0.35
LEAST_CELLS = 8
# A cell agrees if its displacement, less the smooth part, and its correlation are within these limits.
LARGEST_RESIDUAL = 1.0
LEAST_CORRELATION = 0.5


@dataclass(frozen=True)
class Agreement:
    """The agreement of two pictures.

    Attributes:
        matrix: ``(2, 3)`` refined transform, from pixels of the first picture to pixels of the second.
        share: Share of the compared cells that agree.
        correlation: Median correlation of the cells.
        residual: Median displacement of the cells, less the smooth part, in pixels of the compared size.
        overall: Correlation of the whole overlap.
        bend: Largest coefficient of the smooth displacement, in pixels of the compared size.
        cells: ``(m, 2)`` centres of the agreeing cells, in pixels of the second picture.
        cell: Side of a cell, in pixels of the second picture.
        compared: Number of compared cells.
    """

    matrix: Matrix
    share: float
    correlation: float
    residual: float
    overall: float
    bend: float
    cells: NDArray[np.float64]
    cell: float
    compared: int


def measure_agreement(first: NDArray[np.uint8], second: NDArray[np.uint8], matrix: Matrix) -> Agreement | None:
    """Refine a transform and measure the agreement of two pictures under it; None if too little can be compared.

    Args:
        first, second: Grey pictures ``(height, width)``.
        matrix: ``(2, 3)`` transform, from pixels of the first picture to pixels of the second.
    """
    # Both are reduced to the scale of the coarser one.
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    reduction = min(1.0, SIDE / max(second.shape), SIDE / max(first.shape) / scale)
    source = _reduce(first, reduction * min(1.0, scale) if scale < 1 else reduction)
    target = _reduce(second, reduction / max(1.0, scale) if scale > 1 else reduction)
    before = np.diag([first.shape[1] / source.shape[1], first.shape[0] / source.shape[0], 1.0])
    after = np.diag([target.shape[1] / second.shape[1], target.shape[0] / second.shape[0], 1.0])
    current = (after @ np.vstack([matrix, [0, 0, 1]]) @ before)[:2]
    one, two = normalise(source, RADIUS), normalise(target, RADIUS)
    for step in STEPS:
        cells, _, _ = _compare_cells(one, two, current, *step)
        fitted = _fit_smooth(cells, two.shape, degree=1)
        if fitted is None:
            return None
        current = _correct(current, fitted[0], two.shape)
    cells, overlap, warped = _compare_cells(one, two, current, *LAST_STEP)
    fitted = _fit_smooth(cells, two.shape, degree=2)
    if fitted is None:
        return None
    coefficients, residuals = fitted
    agreeing = (residuals < LARGEST_RESIDUAL) & (cells[:, 4] > LEAST_CORRELATION)
    a, b = warped[overlap], two[overlap]
    back = np.array([second.shape[1] / target.shape[1], second.shape[0] / target.shape[0]])
    whole = np.linalg.inv(after) @ np.vstack([current, [0, 0, 1]]) @ np.linalg.inv(before)
    return Agreement(
        matrix=whole[:2],
        share=float(agreeing.mean()),
        correlation=float(np.median(cells[:, 4])),
        residual=float(np.median(residuals)),
        overall=float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean() + 1e-6)),
        bend=float(np.abs(coefficients[1:]).max()),
        cells=cells[agreeing, :2] * back,
        cell=float(LAST_STEP[0] * back.mean()),
        compared=len(cells),
    )


def _reduce(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    height, width = picture.shape
    target = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, target, interpolation=cv2.INTER_AREA), np.uint8)


def _compare_cells(
    first: NDArray[np.float32], second: NDArray[np.float32], matrix: Matrix, cell: int, stride: int, reach: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float32]]:
    """Find the displacement of each cell of the second picture.

    Returns:
        Rows (centre x, centre y, displacement x, displacement y, correlation), the overlap of the two pictures, and
        the first picture under the transform.
    """
    height, width = second.shape
    cell = min(cell, height // 3, width // 3)
    stride = max(6, min(stride, cell // 2))
    warped = cv2.warpAffine(first, matrix, (width, height), flags=cv2.INTER_LINEAR)
    covered = cv2.warpAffine(np.ones_like(first), matrix, (width, height), flags=cv2.INTER_NEAREST)
    cells = []
    for y in range(reach, height - cell - reach + 1, stride):
        for x in range(reach, width - cell - reach + 1, stride):
            if covered[y : y + cell, x : x + cell].mean() < 0.95:
                continue
            template = warped[y : y + cell, x : x + cell]
            window = second[y - reach : y + cell + reach, x - reach : x + cell + reach]
            if template.std() < LEAST_DEVIATION or window.std() < LEAST_DEVIATION:
                continue
            dx, dy, value = _find_peak(cv2.matchTemplate(window, template, cv2.TM_CCOEFF_NORMED))
            cells.append((x + cell / 2, y + cell / 2, dx - reach, dy - reach, value))
    return np.array(cells, np.float64).reshape(-1, 5), covered > 0, warped


def _find_peak(correlations: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the position (x, y) of the maximum, interpolated between pixels, and its value."""
    _, value, _, (x, y) = cv2.minMaxLoc(correlations)
    return (
        x + _interpolate(correlations[y, max(x - 1, 0) : x + 2]),
        y + _interpolate(correlations[max(y - 1, 0) : y + 2, x]),
        value,
    )


def _interpolate(values: NDArray[np.float32]) -> float:
    """Return the offset of the peak of the parabola through three values."""
    if len(values) < 3:
        return 0.0
    left, centre, right = values
    curvature = left - 2 * centre + right
    return float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0


def _fit_smooth(
    cells: NDArray[np.float64], shape: tuple[int, ...], degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Fit a polynomial displacement robustly. Return its coefficients and the residual length of each cell."""
    if len(cells) < LEAST_CELLS:
        return None
    height, width = shape
    x, y = cells[:, 0] / width * 2 - 1, cells[:, 1] / height * 2 - 1
    terms = [np.ones_like(x), x, y, *([x * x, x * y, y * y] if degree == 2 else [])]
    basis, displacements = np.stack(terms, axis=1), cells[:, 2:4]
    confidence = np.maximum(cells[:, 4], 0) ** 2
    weights, tolerance = confidence, 4 * 1.5
    ridge = 1e-3 * np.diag([0.0] + [1.0] * (len(terms) - 1)) + 1e-9 * np.eye(len(terms))
    for _ in range(8):
        weighted = basis * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ displacements)
        residuals = np.linalg.norm(displacements - basis @ coefficients, axis=1)
        tolerance = max(1.5, tolerance * 0.7)
        weights = confidence / (1 + (residuals / tolerance) ** 2) ** 2
    return coefficients, residuals


def _correct(matrix: Matrix, coefficients: NDArray[np.float64], shape: tuple[int, ...]) -> Matrix:
    """Return a transform followed by a displacement that is linear in the position."""
    height, width = shape
    linear = np.stack([coefficients[1] * 2 / width, coefficients[2] * 2 / height], axis=1)
    offset = coefficients[0] - coefficients[1] - coefficients[2]
    change = np.eye(2) + linear
    return np.hstack([change @ matrix[:, :2], (change @ matrix[:, 2] + offset)[:, None]])
