"""A runtime is used only if a trial shows that it finds the boxes of torch in float32."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from ultralytics.cfg import get_cfg

from app import devices
from app.detection import loading
from app.detection.boxes import Detections
from app.detection.detector import Detector, DetectorConfig
from app.detection.loading import build_detector, find_difference
from app.detection.precision import (
    EXACT,
    Library,
    Precision,
    Runtime,
    compute_in_bfloat16,
    computes_bfloat16,
)
from app.detection.runtime_trials import RuntimeTrials
from app.errors import WeightsError
from tests.support.checkpoints import find_weights
from tests.support.rectangle_finder import RectangleFinder
from tests.support.small_networks import make_yolo
from tests.support.yolov5_networks import make_network, save

AUTO = DetectorConfig(size=640, device="cpu", precision=Precision.AUTO)
REDUCED = Runtime(Library.TORCH, torch.bfloat16)
PAGE = np.full((640, 640, 3), 255, np.uint8)
PAGE[100:300, 100:300] = 0


class FormatFinder(RectangleFinder):
    """A rectangle finder that fails in bfloat16.

    Args:
        failure: "nan" to return NaN, or an exception to raise.
    """

    def __init__(self, failure: Any = "") -> None:
        super().__init__()
        self.failure = failure

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        output = super().forward(batch)
        if batch.dtype is torch.bfloat16 and self.failure == "nan":
            return output * float("nan")
        if batch.dtype is torch.bfloat16 and self.failure:
            raise self.failure
        return output


class Unconvertible(FormatFinder):
    """A rectangle finder that cannot be converted back to float32."""

    def float(self) -> nn.Module:
        raise RuntimeError("no such conversion")


@pytest.fixture
def trials(tmp_path: Path) -> RuntimeTrials:
    return RuntimeTrials(tmp_path / "runtimes.json")


def build(failure: Any, trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Detector:
    """Build a detector on a machine that prefers bfloat16, for a network with a failure."""
    monkeypatch.setattr(loading, "list_runtimes", lambda *_: [REDUCED, EXACT])
    monkeypatch.setattr(loading, "load_network", lambda _: FormatFinder(failure))
    monkeypatch.setattr(loading, "load_sample_pages", lambda _: [PAGE])
    return build_detector(find_weights(save(tmp_path / "a.pt", model=make_network(names=["a"]))), AUTO, trials)


def read_results(tmp_path: Path) -> list[str]:
    path = tmp_path / "runtimes.json"
    return list(RuntimeTrials(path)._load().values())


def test_a_format_with_the_same_boxes_is_used(
    trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build("", trials, tmp_path, monkeypatch).runtime == REDUCED
    assert read_results(tmp_path) == [""]


def test_a_format_with_nan_is_not_used(trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build("nan", trials, tmp_path, monkeypatch).runtime == EXACT
    assert read_results(tmp_path) == ["the network returns NaN or infinity"]


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError])
def test_a_format_that_torch_does_not_support_is_not_used(
    kind: type[Exception], trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(kind("not implemented"), trials, tmp_path, monkeypatch).runtime == EXACT
    assert read_results(tmp_path) == ["the network fails: not implemented"]


def test_a_trial_that_runs_out_of_memory_is_not_stored(
    trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "WAITS", ())
    error = torch.OutOfMemoryError("CUDA out of memory")
    assert build(error, trials, tmp_path, monkeypatch).runtime == EXACT
    assert read_results(tmp_path) == []
    assert build("", trials, tmp_path, monkeypatch).runtime == REDUCED


def test_a_trial_in_which_the_gpu_fails_is_not_stored(
    trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        build(error, trials, tmp_path, monkeypatch)
    assert read_results(tmp_path) == []


def test_a_stored_result_replaces_the_trial(
    trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("nan", trials, tmp_path, monkeypatch)
    assert build("", trials, tmp_path, monkeypatch).runtime == EXACT


def test_a_network_that_returns_nan_continues_in_float32() -> None:
    config = DetectorConfig(device="cpu", precision=Precision.BFLOAT16, streams=2)
    detector = Detector(FormatFinder("nan"), config)  # type: ignore[arg-type]
    assert [len(found) for found in detector.detect([PAGE])] == [1]
    assert detector.runtime == EXACT


def test_nan_in_float32_is_an_error_and_not_an_empty_page() -> None:
    class Broken(RectangleFinder):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return super().forward(batch) * float("nan")

    with pytest.raises(WeightsError, match="also in float32: train it again"):
        Detector(Broken(), replace(AUTO, precision=Precision.FLOAT32)).detect([PAGE])  # type: ignore[arg-type]


def test_a_failed_conversion_to_float32_does_not_block_the_detector() -> None:
    config = DetectorConfig(device="cpu", precision=Precision.BFLOAT16, streams=2)
    detector = Detector(Unconvertible("nan"), config)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no such conversion"):
            detector.detect([PAGE])


def detections(*rows: tuple[float, ...]) -> list[Detections]:
    return [Detections.from_rows(np.array([(*row, 0) for row in rows], np.float32))]


@pytest.mark.parametrize(
    ("reference", "found", "difference"),
    [
        (detections((0, 0, 100, 100, 0.9)), detections((0, 0, 100, 101, 0.9)), ""),
        (detections((0, 0, 100, 100, 0.9)), detections((0, 0, 100, 150, 0.9)), "0.67"),
        (detections((0, 0, 100, 100, 0.9)), detections(), "0.00"),
        (detections((0, 0, 9, 9, 0.9)), detections((0, 0, 9, 9, 0.9), (50, 50, 99, 99, 0.9)), "1 more"),
        (detections(), detections(), "no box"),
    ],
)
def test_boxes_of_both_runtimes_are_compared(
    reference: list[Detections], found: list[Detections], difference: str
) -> None:
    text = find_difference(reference, found)
    assert difference in text
    assert bool(text) == bool(difference)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("avx512f avx512_vnni", False), ("", False)],
)
def test_the_flags_of_the_processor_say_whether_bfloat16_is_fast(tmp_path: Path, flags: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert computes_bfloat16(info) is expected
    assert computes_bfloat16(tmp_path / "missing") is False


def test_boxes_are_decoded_in_float32() -> None:
    network = make_yolo().eval()
    for branch in network.model[-1].cv2:  # an untrained head returns whole pixels
        branch[-1].bias.data.normal_()
    images = [np.random.default_rng(0).integers(0, 255, (640, 480, 3), dtype=np.uint8)]
    config = DetectorConfig(size=640, confidence=0.0001, device="cpu")
    (found,) = Detector(network, config, runtime=REDUCED).detect(images)  # type: ignore[arg-type]
    assert len(found)
    coordinates = torch.from_numpy(found.xyxy)
    assert not torch.equal(coordinates, coordinates.bfloat16().float()), "steps of bfloat16 are 2 to 4 pixels"


def test_streams_return_the_results_in_order_with_the_boxes_of_one_stream() -> None:
    random = np.random.default_rng(0)
    shapes = [(640, 480), (480, 640), (640, 640), (320, 640)] * 4
    pages = [random.integers(0, 255, (*shape, 3), dtype=np.uint8) for shape in shapes]
    config = DetectorConfig(size=320, confidence=0.0001, most=20, batch_size=2, device="cpu")
    torch.manual_seed(0)
    network = make_yolo().eval()
    (single, several) = (
        Detector(copy.deepcopy(network), replace(config, streams=streams))  # type: ignore[arg-type]
        for streams in (1, 3)
    )
    expected, threads = single.detect(pages), torch.get_num_threads()
    found = [each for batch in several.run(several.detect, several.split(pages)) for each in batch]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.xyxy, other.xyxy, atol=0.01)
    assert torch.get_num_threads() == threads


def test_batches_are_small_enough_for_every_stream() -> None:
    detector = Detector(RectangleFinder(), DetectorConfig(batch_size=8, device="cpu", streams=2))  # type: ignore[arg-type]
    assert [len(batch) for batch in detector.split(range(6))] == [3, 3]
    assert [len(batch) for batch in detector.split(range(40))] == [8] * 5
    assert detector.split([]) == []


def test_a_training_network_in_bfloat16_has_nearly_the_same_loss() -> None:
    batch = {
        "img": torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.6, 0.3, 0.3]]),
    }
    original, reduced = (make_yolo().train() for _ in range(2))
    original.args = reduced.args = get_cfg()
    compute_in_bfloat16(reduced)
    (expected, _), (loss, _) = original(batch), reduced(batch)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, expected, rtol=0.05)
    assert not torch.equal(loss, expected)
    loss.sum().backward()
    assert all(each.grad.dtype == torch.float32 for each in reduced.parameters() if each.grad is not None)


def test_a_validated_network_in_bfloat16_decodes_its_boxes_in_float32() -> None:
    original, reduced = make_yolo().eval(), compute_in_bfloat16(make_yolo()).eval()
    page = torch.rand(1, 3, 640, 640, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, boxes = original(page)[0][:, :4], reduced(page)[0][:, :4]
    assert boxes.dtype == torch.float32
    assert 0 < (boxes - expected).abs().max() < 1.0  # in pixels; the steps of bfloat16 are 4 pixels
