"""Merge the detections of the overlapping parts of a page.

A box is cut if it touches a seam: an edge of its part that is not an edge of the page. The steps, within each class:

1. A box that lies mostly in a whole box is dropped if it is cut. It is also dropped if its part shows only a piece of
   the whole box. A cut box that another part shows whole is dropped in any case: there, the detector sees more.
2. Two boxes that continue each other in the overlap of their parts become one box.
3. A box is dropped if it overlaps a better one by more than the threshold of NMS. A cut box is also dropped if it lies
   mostly in a better one. Whole boxes are better than cut ones, then the more confident ones, and the larger pieces.

A box gets the best confidence of the boxes that it replaces, apart from small pieces of it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import Detections, compute_iou
from app.detection.parts import PartBox

# Distance from a seam at which a box touches it, as a fraction of the longer side of the part.
TOUCH = 0.02
# Fraction of a cut box that must lie in the other box.
LEAST_INSIDE = 0.6
# Two boxes continue each other if their extents along the seam have this IoU.
LEAST_ALIGNED = 0.5
# A box may end before a seam although the illustration continues. Two boxes then continue each other if they share this
# fraction of the overlap of their parts.
LEAST_SHARED = 0.5
# Number of boxes that are compared, those with the best confidence: memory grows with its square.
MOST_BOXES = 3000
# Parts of one grid differ by rounding; those of the next coarser grid are larger than this.
SAME_SIZE = 1.2

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def merge(parts: Sequence[PartBox], found: Sequence[Detections], size: tuple[int, int], iou: float) -> Detections:
    """Merge the detections of all parts of a page.

    Args:
        parts: Parts of the page as ``x1 y1 x2 y2``, in pixels of the page.
        found: Detections of each part, in pixels of the page from the corner of the part.
        size: (width, height) of the page.
        iou: IoU threshold of NMS within a class.
    """
    places = np.repeat(np.array(parts, dtype=np.float32).reshape(-1, 4), [len(each) for each in found], axis=0)
    confidence = np.concatenate([each.confidence for each in found])
    class_id = np.concatenate([each.class_id for each in found])
    boxes = np.concatenate([each.xyxy for each in found]) + np.tile(places[:, :2], 2)
    best = np.argsort(-confidence, kind="stable")[:MOST_BOXES]
    merged = _Boxes(boxes[best], confidence[best], class_id[best], places[best], size)
    merged.drop_pieces(iou, np.array(parts, dtype=np.float32))
    merged.join()
    return merged.suppress(iou)


class _Boxes:
    """Boxes in pixels of the page.

    Args:
        xyxy: ``(n, 4)`` corners.
        confidence: ``(n,)`` confidences.
        class_id: ``(n,)`` class ids.
        parts: ``(n, 4)`` corners of the part of each box.
        size: (width, height) of the page.
    """

    def __init__(
        self, xyxy: Floats, confidence: Floats, class_id: NDArray[np.int64], parts: Floats, size: tuple[int, int]
    ) -> None:
        self._xyxy = xyxy
        self._confidence = confidence
        self._class_id = class_id
        self._parts = parts
        self._page = np.array([0, 0, *size], dtype=np.float32)
        self._slack = TOUCH * (parts[:, 2:] - parts[:, :2]).max(axis=1, initial=0)
        # Whether the left, top, right and bottom side of each box touches a seam.
        self._cut: Flags = (np.abs(xyxy - parts) <= self._slack[:, None]) & (parts != self._page)

    def drop_pieces(self, iou: float, parts: Floats) -> None:
        """Drop the pieces of whole boxes, and cut boxes that one of the parts shows whole.

        A piece that is almost the whole box raises the confidence of the box.
        """
        cut = self._is_cut()
        is_piece = cut[:, None] | self._is_outside()
        inside: Flags = self._is_same_class() & is_piece & ~cut[None] & (self._compute_shares() >= LEAST_INSIDE)
        pieces = np.flatnonzero(np.count_nonzero(inside, axis=1))
        wholes = np.argmax(inside[pieces] * self._confidence[None], axis=1) if len(pieces) else pieces
        twins = compute_iou(self._xyxy, self._xyxy)[pieces, wholes] > iou
        np.maximum.at(self._confidence, wholes[twins], self._confidence[pieces[twins]])
        is_shown = cut & np.asarray(self._is_within(parts).any(axis=1))
        is_shown[pieces] = True
        self._keep(np.flatnonzero(~is_shown))

    def join(self) -> None:
        """Join boxes that continue each other; a chain of boxes becomes one box."""
        ordered = self._continue(0) | self._continue(1)
        pairs: Flags = self._is_same_class() & (ordered | ordered.T)
        waiting, kept = set(range(len(pairs))), []
        while waiting:
            chain, ends = set[int](), {min(waiting)}
            while ends:
                chain |= ends
                ends = set(np.flatnonzero(pairs[sorted(ends)].any(axis=0)).tolist()) - chain
            waiting -= chain
            self._replace(sorted(chain))
            kept.append(min(chain))
        self._keep(np.array(kept, dtype=np.int64))

    def suppress(self, iou: float) -> Detections:
        """Return the boxes without duplicates and without pieces of other boxes."""
        cut = self._is_cut()
        twins: Flags = self._is_same_class() & (compute_iou(self._xyxy, self._xyxy) > iou)
        pieces: Flags = self._is_same_class() & cut[:, None] & (self._compute_shares() >= LEAST_INSIDE)
        order = np.lexsort((-self._confidence, np.where(cut, -_compute_areas(self._xyxy), 0), cut))
        kept: list[int] = []
        for index in order.tolist():
            if not (twins[index, kept] | pieces[index, kept]).any():
                kept.append(index)
        best = np.max(twins * self._confidence[None], axis=1, initial=0)
        confidence = np.maximum(self._confidence, best)
        return Detections(self._xyxy[kept], confidence[kept], self._class_id[kept])

    def _continue(self, axis: int) -> Flags:
        """Return for each pair whether the second box continues the first one.

        Both extend out of the part of the other. In the overlap of the parts, both touch a seam or share enough.

        Args:
            axis: 0 for boxes side by side, 1 for boxes one above the other.
        """
        start, end, slack = self._xyxy[:, axis], self._xyxy[:, axis + 2], self._slack[:, None]
        first, last = self._parts[:, axis], self._parts[:, axis + 2]
        is_outside = (start[:, None] <= first[None] + slack) & (end[None] >= last[:, None] - slack)
        is_after = (first[:, None] < first[None]) & (last[:, None] < last[None])
        overlap, shared = last[:, None] - first[None], end[:, None] - start[None]
        touches = self._cut[:, None, axis + 2] & self._cut[None, :, axis] & (shared >= 0)
        meets = touches | ((overlap > 0) & (shared >= LEAST_SHARED * overlap))
        is_aligned = self._compute_extent_iou(1 - axis) >= LEAST_ALIGNED
        return np.asarray(is_after & is_outside & meets & is_aligned)

    def _is_outside(self) -> Flags:
        """Return for each pair whether the part of the first box shows only a piece of the second.

        Only for parts of the same size: a larger part may show a picture in which the first box is a detail.
        """
        low = self._xyxy[None, :, :2] < self._parts[:, None, :2] - self._slack[:, None, None]
        high = self._xyxy[None, :, 2:] > self._parts[:, None, 2:] + self._slack[:, None, None]
        return np.asarray((low | high).any(axis=2) & (self._own_areas().T / self._own_areas() < SAME_SIZE))

    def _is_within(self, parts: Floats) -> Flags:
        """Return for each box and each part of the size of its own whether the box lies in the part, off the seams."""
        low = (self._xyxy[:, None, :2] > parts[:, :2] + self._slack[:, None, None]) | (parts[:, :2] == 0)
        high = (self._xyxy[:, None, 2:] < parts[:, 2:] - self._slack[:, None, None]) | (parts[:, 2:] == self._page[2:])
        return np.asarray((low & high).all(axis=2) & (_compute_areas(parts) / self._own_areas() < SAME_SIZE))

    def _own_areas(self) -> Floats:
        """Return the areas of the parts of the boxes, as a column."""
        return _compute_areas(self._parts)[:, None]

    def _replace(self, chain: list[int]) -> None:
        """Replace the first box of a chain by the box around all of them."""
        first, boxes = chain[0], self._xyxy[chain]
        hull = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        self._cut[first] = (self._cut[chain] & (boxes == hull)).any(axis=0)
        self._xyxy[first] = hull
        self._confidence[first] = self._confidence[chain].max()

    def _keep(self, kept: NDArray[np.int64]) -> None:
        self._xyxy, self._confidence, self._class_id = self._xyxy[kept], self._confidence[kept], self._class_id[kept]
        self._cut, self._slack, self._parts = self._cut[kept], self._slack[kept], self._parts[kept]

    def _is_cut(self) -> Flags:
        return np.asarray(self._cut.any(axis=1))

    def _is_same_class(self) -> Flags:
        return np.asarray(self._class_id[:, None] == self._class_id[None])

    def _compute_shares(self) -> Floats:
        """Return the fraction of each box that lies in each other box, and 0 for the box itself."""
        top_left = np.maximum(self._xyxy[:, None, :2], self._xyxy[None, :, :2])
        bottom_right = np.minimum(self._xyxy[:, None, 2:], self._xyxy[None, :, 2:])
        shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
        shares = shared / np.maximum(_compute_areas(self._xyxy), 1e-9)[:, None]
        np.fill_diagonal(shares, 0)
        return np.asarray(shares)

    def _compute_extent_iou(self, axis: int) -> Floats:
        """Return the IoU of the extents of every pair of boxes along an axis."""
        start, end = self._xyxy[:, axis], self._xyxy[:, axis + 2]
        shared = np.minimum(end[:, None], end[None]) - np.maximum(start[:, None], start[None])
        whole = np.maximum(end[:, None], end[None]) - np.minimum(start[:, None], start[None])
        return np.asarray(np.clip(shared, 0, None) / np.maximum(whole, 1e-9))


def _compute_areas(boxes: Floats) -> Floats:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
