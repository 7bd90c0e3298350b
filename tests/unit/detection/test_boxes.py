import numpy as np

from app.detection.boxes import Detections, compute_iou


def detections(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections.from_rows(np.array([[*box, 0.5, 1] for box in boxes], dtype=np.float32))


def test_boxes_are_scaled_to_the_full_size() -> None:
    scaled = detections((10, 20, 110, 220)).scaled((400, 500), (4000, 5000))
    assert scaled.xyxy.tolist() == [[100, 200, 1100, 2200]]


def test_boxes_are_clipped_to_the_image() -> None:
    scaled = detections((-5, -5, 500, 500)).scaled((400, 300), (800, 600))
    assert scaled.xyxy.tolist() == [[0, 0, 800, 600]]


def test_both_corners_are_rounded() -> None:
    assert detections((0.6, 0.4, 2.6, 2.4)).xywh().tolist() == [[1, 0, 2, 2]]


def test_every_box_is_at_least_one_pixel_wide_and_high() -> None:
    assert detections((5.1, 5.1, 5.2, 5.2)).xywh().tolist() == [[5, 5, 1, 1]]


def test_empty_detections_can_be_scaled() -> None:
    none = Detections.from_rows(np.zeros((0, 6), dtype=np.float32)).scaled((10, 10), (20, 20))
    assert len(none) == 0
    assert none.xywh().shape == (0, 4)


def test_iou_of_every_pair() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], dtype=np.float32)
    b = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], dtype=np.float32)
    assert np.allclose(compute_iou(a, b), [[1, 0], [0.5, 0]])
