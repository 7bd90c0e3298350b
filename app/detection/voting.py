"""Box voting: each detection gets the mean of the overlapping boxes that NMS would discard.

The box with the highest confidence is often not the one that fits best. The mean of its neighbours, weighted by
confidence, fits better: bench/README.md has the measurement. Weights ask for it by the entry ``BOX_VOTING`` of their
training arguments, as the default weights and those trained from it do. Other weights keep the boxes of the library.

S. Gidaris and N. Komodakis, Object detection via a multi-region & semantic segmentation-aware CNN model, 2015, section
5 (https://arxiv.org/abs/1505.01749).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import compute_iou

# Entry in the training arguments of weights.
BOX_VOTING = "box_voting"
# Boxes below this confidence do not vote: there are thousands of them.
LEAST_CONFIDENCE = 0.05
# Boxes vote for a detection that they overlap by this IoU.
LEAST_IOU = 0.7


def needs_nms(network: Any) -> bool:
    """Return whether a network gives several boxes for an illustration. An RT-DETR and an end-to-end YOLO do not."""
    return type(network).__name__ != "RTDETRDetectionModel" and not getattr(network, "end2end", False)


def asks_for_voting(network: Any) -> bool:
    """Return whether weights ask for box voting, and have boxes that could vote."""
    arguments = getattr(network, "args", None)
    return isinstance(arguments, Mapping) and arguments.get(BOX_VOTING) is True and needs_nms(network)


def vote(kept: NDArray[np.float32], output: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return detections with boxes that the discarded boxes have voted for.

    Args:
        kept: ``(n, 6)`` rows ``x1 y1 x2 y2 confidence class`` of one image, after NMS.
        output: ``(4 + classes, m)`` output of the network for this image: ``x y w h`` of the centre and the size, in
            the same pixels, and a score for each class.
    """
    scores = output[4:].max(axis=0)
    chosen = scores >= LEAST_CONFIDENCE
    centre, half, class_id = output[:2, chosen].T, output[2:4, chosen].T / 2, output[4:, chosen].argmax(axis=0)
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    overlap = compute_iou(kept[:, :4], boxes)
    votes = (overlap >= LEAST_IOU) & (kept[:, 5:] == class_id)
    weights = np.where(votes, overlap * scores[chosen] ** 2, 0)
    total = weights.sum(axis=1, keepdims=True)
    voted = np.where(total > 0, weights @ boxes / np.maximum(total, 1e-12), kept[:, :4])
    return np.concatenate([voted, kept[:, 4:]], axis=1).astype(np.float32)
