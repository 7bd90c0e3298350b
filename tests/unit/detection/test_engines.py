"""OpenVINO gives the boxes of torch; networks that it does not support are left to torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app import devices
from app.config import ROOT
from app.detection import loading, precision
from app.detection.detector import Detector, DetectorConfig
from app.detection.engines import load_engines
from app.detection.loading import build_detector
from app.detection.openvino_network import OpenVinoNetwork
from app.detection.precision import Library, Precision, Runtime, list_runtimes
from app.detection.runtime_trials import RuntimeTrials, load_sample_pages
from app.detection.weights import load_network
from tests.support.checkpoints import find_weights
from tests.support.small_networks import make_rtdetr, make_yolo, save_checkpoint
from tests.support.yolov5_networks import make_network, save

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TORCH, TORCH_REDUCED, OPENVINO, OPENVINO_REDUCED = (
    Runtime(library, dtype)
    for library in (Library.TORCH, Library.OPENVINO)
    for dtype in (torch.float32, torch.bfloat16)
)
WEIGHTS = ROOT / "models" / "illustrations.pt"
CONFIG = DetectorConfig(device="cpu", streams=2, batch_size=3)


def test_openvino_finds_the_boxes_of_torch_on_pages_of_any_shape() -> None:
    pages = load_sample_pages(640)
    pages += [pages[0].swapaxes(0, 1), pages[1][:400], pages[3]]
    expected, found = (
        Detector(load_network(WEIGHTS), CONFIG, runtime=runtime).detect(pages) for runtime in (TORCH, OPENVINO)
    )
    assert sum(map(len, expected)) > 4
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.xyxy, one.xyxy, atol=0.1)
        np.testing.assert_allclose(other.confidence, one.confidence, atol=0.001)


def test_openvino_finds_the_boxes_of_an_original_yolov5(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", model=make_network(names=["a"]))
    random = np.random.default_rng(0)
    pages = [random.integers(0, 255, shape, dtype=np.uint8) for shape in ((320, 256, 3), (200, 320, 3))]
    config = replace(CONFIG, size=320, confidence=0.0001, most=20)
    path = tmp_path / "a.pt"
    expected, found = (Detector(load_network(path), config, runtime=each).detect(pages) for each in (TORCH, OPENVINO))
    for one, other in zip(expected, found, strict=True):
        assert len(one)
        np.testing.assert_allclose(other.xyxy, one.xyxy, atol=0.1)


def test_openvino_gives_streams_the_boxes_of_one_stream() -> None:
    random = np.random.default_rng(0)
    pages = [random.integers(0, 255, (height, 320, 3), dtype=np.uint8) for height in (320, 256, 160, 320, 192)] * 3
    config = replace(CONFIG, size=320, confidence=0.0001, most=20)
    detector = Detector(make_yolo().eval(), config, runtime=OPENVINO)  # type: ignore[arg-type]
    found = [each for batch in detector.run(detector.detect, detector.split(pages)) for each in batch]
    for one, other in zip(detector.detect(pages), found, strict=True):
        np.testing.assert_allclose(one.xyxy, other.xyxy, atol=0.01)


def test_openvino_that_returns_nan_continues_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.random.default_rng(0).integers(0, 255, (320, 320, 3), dtype=np.uint8)
    config = replace(CONFIG, size=320, confidence=0.0001)
    expected = Detector(make_yolo().eval(), config, runtime=OPENVINO).detect([page])  # type: ignore[arg-type]
    compute = OpenVinoNetwork.__call__

    def fail(self: OpenVinoNetwork, batch: np.ndarray) -> torch.Tensor:
        output = compute(self, batch)
        return output if self.dtype is torch.float32 else output * float("nan")

    monkeypatch.setattr(OpenVinoNetwork, "__call__", fail)
    detector = Detector(make_yolo().eval(), config, runtime=OPENVINO_REDUCED)  # type: ignore[arg-type]
    (found,) = detector.detect([page])
    np.testing.assert_allclose(found.xyxy, expected[0].xyxy, atol=0.01)
    assert detector.runtime == OPENVINO


def test_openvino_decodes_boxes_in_float32() -> None:
    (engine,) = load_engines(load_network(WEIGHTS), CPU, OPENVINO_REDUCED, 1)
    sizes = engine(np.random.default_rng(0).integers(0, 255, (1, 640, 480, 3), dtype=np.uint8))[0, 2:4]
    rounded = (sizes == sizes.bfloat16().float()).float().mean()
    assert rounded < 0.1, "steps of bfloat16 are 2 to 4 pixels"


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuntimeTrials:
    """Trials on a machine that offers OpenVINO and torch in float32."""
    monkeypatch.setattr(loading, "list_runtimes", lambda *_: [OPENVINO, TORCH])
    return RuntimeTrials(tmp_path / "runtimes.json")


def test_a_transformer_is_run_by_torch(trials: RuntimeTrials, tmp_path: Path) -> None:
    weights = find_weights(save_checkpoint(tmp_path / "a.pt", make_rtdetr()))
    assert build_detector(weights, replace(CONFIG, precision=Precision.AUTO), trials).runtime == TORCH
    assert "OpenVINO is only used for a YOLO" in (tmp_path / "runtimes.json").read_text()


@pytest.mark.parametrize("error", [RuntimeError, ValueError, AttributeError, ImportError])
def test_a_network_that_openvino_cannot_convert_is_run_by_torch(
    error: type[Exception], trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error("no such operation")

    monkeypatch.setattr(torch.jit, "trace", refuse)
    weights = find_weights(save_checkpoint(tmp_path / "a.pt", make_yolo()))
    assert build_detector(weights, replace(CONFIG, precision=Precision.AUTO), trials).runtime == TORCH
    assert "no such operation" in (tmp_path / "runtimes.json").read_text()


def test_a_conversion_without_memory_is_tried_again_later(
    trials: RuntimeTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to allocate 39321600 bytes of memory")

    weights = find_weights(save_checkpoint(tmp_path / "a.pt", make_yolo()))
    monkeypatch.setattr(devices, "WAITS", ())
    with monkeypatch.context() as patched:
        patched.setattr(torch.jit, "trace", refuse)
        assert build_detector(weights, replace(CONFIG, precision=Precision.AUTO), trials).runtime == TORCH
    assert not (tmp_path / "runtimes.json").exists()


@pytest.mark.parametrize(
    ("device", "has_bfloat16", "installed", "expected"),
    [
        (CPU, True, True, [OPENVINO_REDUCED, TORCH_REDUCED, OPENVINO, TORCH]),
        (CPU, False, True, [OPENVINO, TORCH]),
        (CPU, True, False, [TORCH_REDUCED, TORCH]),
        (CPU, False, False, [TORCH]),
        (GPU, True, True, [Runtime(Library.TORCH, torch.float16), TORCH]),
    ],
)
def test_a_device_offers_its_runtimes_the_fastest_first(
    device: torch.device, has_bfloat16: bool, installed: bool, expected: list[Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bfloat16", lambda _: has_bfloat16)
    monkeypatch.setattr(precision, "find_spec", lambda _: object() if installed else None)
    assert list_runtimes(Precision.AUTO, device) == expected
    assert list_runtimes(Precision.BFLOAT16, device) == [TORCH_REDUCED]
