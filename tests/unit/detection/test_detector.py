import os
from pathlib import Path

import numpy as np
import pytest
import torch

from app.detection.detector import Detector, DetectorConfig
from app.detection.loading import LoadedDetectors, load_detector
from app.devices import free_memory
from app.errors import WeightsError
from tests.support.checkpoints import find_weights
from tests.support.rectangle_finder import RectangleFinder
from tests.support.yolov5_networks import make_network, save


def page(width: int, height: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Return a white page with a black rectangle at ``x1 y1 x2 y2``."""
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
def test_boxes_are_in_pixels_of_the_image(detector: Detector, width: int, height: int) -> None:
    true = (width // 4, height // 4, width // 2, height // 2)
    (found,) = detector.detect([page(width, height, true)])
    pixel = max(1.0, max(width, height) / 640)  # one pixel of the network's input
    assert np.abs(found.xyxy - true).max() <= pixel
    assert found.class_id.tolist() == [0]
    assert found.confidence.tolist() == pytest.approx([0.9])


def test_results_are_in_the_order_of_the_images(detector: Detector) -> None:
    images = [page(640, 480, (0, 0, 100, 100)), page(300, 640), page(640, 480, (200, 200, 300, 300)), page(640, 480)]
    assert [len(found) for found in detector.detect(images)] == [1, 0, 1, 0]


def test_pages_with_the_same_shape_share_a_forward_pass(detector: Detector, network: RectangleFinder) -> None:
    detector.detect([page(640, 480), page(300, 640), page(640, 480)])
    assert sorted(network.shapes) == [(1, 3, 640, 320), (2, 3, 480, 640)]


def test_a_batch_is_never_larger_than_configured(detector: Detector, network: RectangleFinder) -> None:
    detector.detect([page(64, 64)] * 5)
    assert [shape[0] for shape in network.shapes] == [2, 2, 1]


def test_a_batch_that_exceeds_the_memory_is_halved() -> None:
    free_memory()  # otherwise detectors of other tests are dropped before the batch is halved

    class Small(RectangleFinder):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 2:
                self.shapes.append(tuple(batch.shape))
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().forward(batch)

    network = Small()
    detector = Detector(network, DetectorConfig(batch_size=8, device="cpu"))  # type: ignore[arg-type]
    pages = [page(640, 640, (10 * n, 0, 10 * n + 50, 50)) for n in range(5)]
    assert [round(found.xyxy[0, 0]) for found in detector.detect(pages)] == [0, 10, 20, 30, 40]
    assert [shape[0] for shape in network.shapes] == [5, 2, 2, 1]


def test_a_full_memory_drops_the_cached_detectors(files: list[Path]) -> None:
    load_detector(find_weights(files[0]), CONFIG)
    assert free_memory()
    assert not free_memory()


def test_boxes_below_the_confidence_are_dropped(network: RectangleFinder) -> None:
    strict = Detector(network, DetectorConfig(confidence=0.95, device="cpu"))  # type: ignore[arg-type]
    assert len(strict.detect([page(640, 640, (10, 10, 90, 90))])[0]) == 0


def test_no_images_give_no_detections(detector: Detector) -> None:
    assert detector.detect([]) == []


CONFIG = DetectorConfig(size=64, device="cpu")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three weights files."""
    return [save(tmp_path / name, model=make_network(names=[name])) for name in ("a.pt", "b.pt", "c.pt")]


def test_the_least_recently_used_detector_is_unloaded(files: list[Path]) -> None:
    detectors, (a, b, c) = LoadedDetectors(room=2), map(find_weights, files)
    first, second = detectors.load(a, CONFIG), detectors.load(b, CONFIG)
    assert detectors.load(a, CONFIG) is first
    detectors.load(c, CONFIG)
    assert detectors.load(a, CONFIG) is first
    assert detectors.load(b, CONFIG) is not second


def test_each_configuration_has_its_own_detector(files: list[Path]) -> None:
    detectors, weights = LoadedDetectors(room=2), find_weights(files[0])
    other = DetectorConfig(size=128, device="cpu")
    assert detectors.load(weights, other).config == other
    assert detectors.load(weights, CONFIG).config == CONFIG


@pytest.mark.parametrize("moment", [1, None], ids=["other modification time", "other size"])
def test_a_changed_file_is_reloaded_and_replaces_the_old_detector(files: list[Path], moment: int | None) -> None:
    detectors, path = LoadedDetectors(room=2), files[0]
    before, other = detectors.load(find_weights(path), CONFIG), detectors.load(find_weights(files[1]), CONFIG)
    changed = path.stat().st_mtime_ns if moment is None else moment
    save(path, model=make_network(names=["changed"]), extra="x" * 10_000)
    os.utime(path, ns=(changed, changed))
    after = detectors.load(find_weights(path), CONFIG)
    assert after.class_names == {0: "changed"}
    assert after.digest != before.digest
    assert detectors.load(find_weights(files[1]), CONFIG) is other


def test_a_detector_has_the_digest_of_its_file(files: list[Path]) -> None:
    weights = find_weights(files[0])
    assert LoadedDetectors(room=1).load(weights, CONFIG).digest == weights.digest()


def test_a_failed_load_is_retried(files: list[Path]) -> None:
    detectors, path = LoadedDetectors(room=1), files[0]
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(WeightsError, match=r"a\.pt"):
        detectors.load(find_weights(path), CONFIG)
    path.write_bytes(content)
    assert detectors.load(find_weights(path), CONFIG).class_names == {0: "a.pt"}
