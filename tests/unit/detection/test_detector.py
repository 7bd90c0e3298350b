import os
from pathlib import Path

import numpy as np
import pytest

from app.detection.detector import Detector, DetectorConfig, LoadedDetectors
from app.errors import WeightsError
from tests.support.checkpoints import find_weights
from tests.support.rectangle_finder import RectangleFinder
from tests.support.yolov5_networks import make_network, save


def page(width: int, height: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """A white page with a black rectangle at ``x1 y1 x2 y2``."""
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    if box:
        image[box[1] : box[3], box[0] : box[2]] = 0
    return image


@pytest.fixture
def network() -> RectangleFinder:
    return RectangleFinder()


@pytest.fixture
def detector(network: RectangleFinder) -> Detector:
    return Detector(network, DetectorConfig(size=640, batch_size=2, device="cpu"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (960, 1280), (1280, 800), (320, 201), (997, 61)])
def test_boxes_come_back_in_pixels_of_the_image(detector: Detector, width: int, height: int) -> None:
    true = (width // 4, height // 4, width // 2, height // 2)
    (found,) = detector.detect([page(width, height, true)])
    pixel = max(1.0, max(width, height) / 640)  # one pixel of what the network sees
    assert np.abs(found.xyxy - true).max() <= pixel
    assert found.class_id.tolist() == [0]
    assert found.confidence.tolist() == pytest.approx([0.9])


def test_results_come_in_the_order_of_the_images(detector: Detector) -> None:
    images = [page(640, 480, (0, 0, 100, 100)), page(300, 640), page(640, 480, (200, 200, 300, 300)), page(640, 480)]
    assert [len(found) for found in detector.detect(images)] == [1, 0, 1, 0]


def test_pages_of_one_shape_share_a_forward_pass(detector: Detector, network: RectangleFinder) -> None:
    detector.detect([page(640, 480), page(300, 640), page(640, 480)])
    assert sorted(network.shapes) == [(1, 3, 640, 320), (2, 3, 480, 640)]


def test_a_batch_is_never_larger_than_set(detector: Detector, network: RectangleFinder) -> None:
    detector.detect([page(64, 64)] * 5)
    assert [shape[0] for shape in network.shapes] == [2, 2, 1]


def test_unsure_boxes_are_dropped(network: RectangleFinder) -> None:
    strict = Detector(network, DetectorConfig(confidence=0.95, device="cpu"))  # type: ignore[arg-type]
    assert len(strict.detect([page(640, 640, (10, 10, 90, 90))])[0]) == 0


def test_no_images_are_no_detections(detector: Detector) -> None:
    assert detector.detect([]) == []


CONFIG = DetectorConfig(size=64, device="cpu")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three weights files."""
    return [save(tmp_path / name, model=make_network(names=[name])) for name in ("a.pt", "b.pt", "c.pt")]


def test_what_was_used_least_recently_makes_room(files: list[Path]) -> None:
    detectors, (a, b, c) = LoadedDetectors(room=2), map(find_weights, files)
    first, second = detectors.load(a, CONFIG), detectors.load(b, CONFIG)
    assert detectors.load(a, CONFIG) is first
    detectors.load(c, CONFIG)
    assert detectors.load(a, CONFIG) is first
    assert detectors.load(b, CONFIG) is not second


def test_another_way_to_detect_is_another_detector(files: list[Path]) -> None:
    detectors, weights = LoadedDetectors(room=2), find_weights(files[0])
    other = DetectorConfig(size=128, device="cpu")
    assert detectors.load(weights, other).config == other
    assert detectors.load(weights, CONFIG).config == CONFIG


@pytest.mark.parametrize("moment", [1, None], ids=["of another time", "of another size"])
def test_a_file_that_changed_is_loaded_anew_in_the_place_of_the_former(files: list[Path], moment: int | None) -> None:
    detectors, path = LoadedDetectors(room=2), files[0]
    before, beside = detectors.load(find_weights(path), CONFIG), detectors.load(find_weights(files[1]), CONFIG)
    changed = path.stat().st_mtime_ns if moment is None else moment
    save(path, model=make_network(names=["changed"]), beside="x" * 10_000)
    os.utime(path, ns=(changed, changed))
    after = detectors.load(find_weights(path), CONFIG)
    assert after.class_names == {0: "changed"}
    assert after.digest != before.digest
    assert detectors.load(find_weights(files[1]), CONFIG) is beside


def test_a_detector_knows_from_which_file_it_is(files: list[Path]) -> None:
    weights = find_weights(files[0])
    assert LoadedDetectors(room=1).load(weights, CONFIG).digest == weights.digest()


def test_what_cannot_be_loaded_is_tried_again(files: list[Path]) -> None:
    detectors, path = LoadedDetectors(room=1), files[0]
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(WeightsError, match=r"a\.pt"):
        detectors.load(find_weights(path), CONFIG)
    path.write_bytes(content)
    assert detectors.load(find_weights(path), CONFIG).class_names == {0: "a.pt"}
