import numpy as np

from app.detection.annotations import format_boxes
from app.detection.boxes import Detections


def test_boxes_are_sorted_by_confidence() -> None:
    rows = np.array([[0, 0, 5, 5, 0.3, 0], [0, 0, 9, 9, 0.8, 7]], dtype=np.float32)
    boxes = format_boxes(Detections.from_rows(rows), {0: "illustration"})
    assert [(box.confidence, box.class_name) for box in boxes] == [(0.8, "7"), (0.3, "illustration")]
