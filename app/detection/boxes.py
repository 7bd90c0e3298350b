"""Detections: boxes with confidence and class. The owner of the object documents their pixel space."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections on one image.

    Attributes:
        xyxy: ``(n, 4)`` float32 corners ``x1 y1 x2 y2`` in pixels, origin at the top left.
        confidence: ``(n,)`` float32 confidences in [0, 1].
        class_id: ``(n,)`` int64 class ids.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def from_rows(cls, rows: NDArray[np.float32]) -> "Detections":
        """Create detections from ``(n, 6)`` rows ``x1 y1 x2 y2 confidence class``."""
        rows = np.asarray(rows, dtype=np.float32).reshape(-1, 6)
        return cls(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))

    def scaled(self, from_size: tuple[float, float], to_size: tuple[float, float]) -> "Detections":
        """Scale the boxes to another (width, height) of the same image, and clip them to it."""
        factors = np.array([to_size[0] / from_size[0], to_size[1] / from_size[1]] * 2)
        limits = np.array([to_size[0], to_size[1]] * 2)
        xyxy = np.clip(self.xyxy.astype(np.float64) * factors, 0, limits)
        return Detections(xyxy.astype(np.float32), self.confidence, self.class_id)

    def xywh(self) -> NDArray[np.int64]:
        """Return ``(n, 4)`` whole pixels ``x y w h``; width and height are measured between the rounded corners."""
        corners = np.rint(self.xyxy).astype(np.int64)
        return np.concatenate([corners[:, :2], np.maximum(corners[:, 2:] - corners[:, :2], 1)], axis=1)


def compute_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the intersection over union (IoU) of every pair: ``(n, 4)`` and ``(m, 4)`` xyxy → ``(n, m)``."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas_a, areas_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    return shared / np.maximum(areas_a[:, None] + areas_b[None] - shared, 1e-9)
