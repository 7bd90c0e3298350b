import json
import socket
from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from app.config import ROOT
from app.detection.boxes import compute_iou
from app.detection.detector import Detector, DetectorConfig
from app.detection.loading import load_detector
from app.detection.weights import Weights, isolate_ultralytics, load_network
from app.errors import WeightsError
from tests.support.yolov5_networks import (
    SIZES,
    DetectionModel,
    Model,
    fuse,
    make_network,
    save,
)

SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="module", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    isolate_ultralytics(tmp_path_factory.mktemp("ultralytics"))


def answer(network: DetectionModel) -> torch.Tensor:
    """Return the output of a YOLOv5 network for random images, with class scores multiplied by objectness."""
    torch.manual_seed(1)
    found = network(torch.rand(2, 3, 64, 128))
    return torch.cat((found[..., :4], found[..., 4:5] * found[..., 5:]), 2).transpose(1, 2)


@torch.inference_mode()
def assert_same(path: Path, expected: DetectionModel) -> Any:
    """Check that the network in a file gives the output of the expected one, also when fused; return it."""
    network = load_network(path)
    torch.manual_seed(1)
    image = torch.rand(2, 3, 64, 128)
    wanted = answer(expected)
    np.testing.assert_allclose(network(image), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(network.fuse(verbose=False)(image), wanted, rtol=1e-3, atol=1e-2)
    return network


@pytest.mark.parametrize("p6", [False, True], ids=["", "p6"])
@pytest.mark.parametrize("size", SIZES)
def test_networks_of_every_depth_are_rebuilt(tmp_path: Path, size: str, p6: bool) -> None:
    network = make_network(SIZES[size][0], p6=p6)
    path = save(tmp_path / "m.pt", model=network)
    assert assert_same(path, network).stride.tolist() == [8, 16, 32, 64][: 4 if p6 else 3]


@pytest.mark.parametrize("size", ["n", "s"])
def test_networks_are_rebuilt_at_full_width(tmp_path: Path, size: str) -> None:
    network = make_network(*SIZES[size])
    assert_same(save(tmp_path / "m.pt", model=network), network)


def test_layers_of_older_releases_are_supported(tmp_path: Path) -> None:
    older = {0: [-1, 1, "Focus", [64, 3]], 9: [-1, 1, "SPP", [1024, [5, 9, 13]]]}
    network = make_network(kind=Model, replace=older)
    assert_same(save(tmp_path / "m.pt", model=network), network)


def test_the_moving_average_is_preferred_to_the_model(tmp_path: Path) -> None:
    average, model = make_network(names=["average"]), make_network(names=["model"])
    assert load_network(save(tmp_path / "both.pt", model=model, ema=average)).names == {0: "average"}
    assert load_network(save(tmp_path / "stripped.pt", model=model, ema=None)).names == {0: "model"}


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    path = save(tmp_path / "half.pt", model=make_network().half())
    assert {value.dtype for value in load_network(path).parameters()} == {torch.float32}
    assert_same(path, make_network())


def test_fused_networks_are_supported(tmp_path: Path) -> None:
    network = fuse(make_network())
    assert_same(save(tmp_path / "m.pt", model=network), network)


def test_data_parallel_networks_are_supported(tmp_path: Path) -> None:
    network = make_network()
    assert_same(save(tmp_path / "m.pt", model=nn.DataParallel(network)), network)


def test_networks_with_synchronised_batch_norm_are_supported(tmp_path: Path) -> None:
    together = nn.SyncBatchNorm.convert_sync_batchnorm(make_network())
    assert_same(save(tmp_path / "m.pt", model=together), make_network())


def test_class_names_can_be_a_list_or_a_dictionary(tmp_path: Path) -> None:
    for names in (["diagram", "initial"], {0: "diagram", 1: "initial"}):
        path = save(tmp_path / "m.pt", model=make_network(names=names))
        assert load_network(path).names == {0: "diagram", 1: "initial"}


def test_the_training_state_in_a_checkpoint_is_ignored(tmp_path: Path) -> None:
    network = make_network()
    trained = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    trained(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {
        "best_fitness": np.float64(0.5),
        "optimizer": optimizer.state_dict(),
        "opt": Namespace(save_dir=Path("runs"), device=torch.device("cpu"), size=torch.Size([640])),
        "results": np.ones(3),
    }
    assert_same(save(tmp_path / "last.pt", model=network, updates=12, **state), network)


def test_a_detector_returns_the_boxes_of_a_yolov5(tmp_path: Path) -> None:
    save(tmp_path / "best_eida.pt", model=make_network())
    config = DetectorConfig(size=64, confidence=0, most=5, device="cpu")
    detector = load_detector(Weights.at(tmp_path / "best_eida.pt"), config)
    (found,) = detector.detect([np.full((64, 64, 3), 200, dtype=np.uint8)])
    assert detector.class_names == {0: "diagram", 1: "initial"}
    assert len(found) == 5


@pytest.mark.parametrize("name", ["yolov5s.pt", "yolov5n6.pt", "l'enluminure.pt"])
@pytest.mark.parametrize("content", ["yolov5", "ultralytics", "broken"])
def test_no_file_name_triggers_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str
) -> None:
    from ultralytics.nn import tasks

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: asked.append(arguments) or [])
    path = tmp_path / name
    if content == "broken":
        path.write_bytes(b"PK\x03\x04")
        with pytest.raises(WeightsError, match=name):
            load_network(path)
    elif content == "yolov5":
        load_network(save(path, model=make_network()))
    else:
        torch.save({"model": tasks.DetectionModel("yolov8n.yaml", nc=2, verbose=False)}, path)
        load_network(path)
    assert asked == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED} with weights and boxes of the original YOLOv5")
@pytest.mark.parametrize(("pages", "folder"), [("document", "document/images"), ("val", "pages/images/val")])
def test_boxes_equal_those_of_the_original_code(pages: str, folder: str) -> None:
    reference = json.loads((SHARED / "reference" / f"yolov5n_{pages}.json").read_text())
    config = DetectorConfig(reference["imgsz"], reference["conf"], reference["iou"], reference["max_det"], device="cpu")
    detector = Detector(load_network(SHARED / "weights" / reference["weights"]), config)
    assert detector.class_names == {int(number): name for number, name in reference["names"].items()}
    for name, expected in islice(reference["detections"].items(), 40):
        image = cv2.imread(str(SHARED / folder / name))
        (found,) = detector.detect([image[..., ::-1]])
        assert len(found) == len(expected), name
        for box, true in zip(np.argsort(-found.confidence), expected, strict=True):
            assert found.class_id[box] == true["class_id"]
            assert found.confidence[box] == pytest.approx(true["confidence"], abs=0.02)
            assert compute_iou(found.xyxy[box][None], np.array([true["xyxy"]]))[0, 0] >= 0.9
