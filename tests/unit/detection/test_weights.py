import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from app.config import ROOT
from app.detection.boxes import compute_iou
from app.detection.detector import DetectorConfig
from app.detection.loading import load_detector
from app.detection.weights import ModelStore, Weights, isolate_ultralytics, load_network
from app.detection.weights_description import describe
from app.errors import RequestError, WeightsError
from tests.support.checkpoints import find_weights, save_network

DEFAULT = ROOT / "models" / "illustrations.pt"


@pytest.fixture(scope="module", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    isolate_ultralytics(tmp_path_factory.mktemp("ultralytics"))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for name in ("best_eida.pt", "other.pt", "notes.txt"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "best_eida.pt", (1712065196, 1712065196))
    return ModelStore(tmp_path, "best_eida.pt", tmp_path / "chosen.json")


def test_weights_are_found_with_and_without_suffix(store: ModelStore) -> None:
    assert store.find("other.pt") == store.find("other")
    assert store.find("").name == "best_eida.pt"


@pytest.mark.parametrize("name", ["absent.pt", "../best_eida.pt", "/etc/passwd", "notes.txt", "x" * 10_000, "%2e%2e/x"])
def test_a_name_that_is_not_listed_is_not_found(store: ModelStore, name: str) -> None:
    with pytest.raises(RequestError, match=r"best_eida\.pt, other\.pt"):
        store.find(name)


def test_broken_links_and_folders_are_not_listed(store: ModelStore) -> None:
    (store.folder / "gone.pt").symlink_to(store.folder / "nothing")
    (store.folder / "folder.pt").mkdir()
    assert list(store.list_weights()) == ["best_eida.pt", "other.pt"]


def test_the_label_has_the_name_and_the_month_of_the_file(store: ModelStore) -> None:
    assert store.find("best_eida.pt").label == "best_eida_04_2024"


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("yolov5n.yaml", "YOLOv5nu"),
        ("yolov8n.yaml", "YOLOv8n"),
        ("yolov8n-p6.yaml", "YOLOv8n-p6"),
        ("yolov9t.yaml", "YOLOv9t"),
        ("yolov10n.yaml", "YOLOv10n"),
        ("yolo11n.yaml", "YOLO11n"),
        ("yolo12n.yaml", "YOLO12n"),
        ("yolo26n.yaml", "YOLO26n"),
        ("rtdetr-l.yaml", "RT-DETR-l"),
    ],
)
def test_several_generations_of_detectors_load_run_and_are_described(
    tmp_path: Path, architecture: str, name: str
) -> None:
    weights = find_weights(save_network(tmp_path / "m.pt", architecture, imgsz=96))
    detector = load_detector(weights, DetectorConfig(size=64, confidence=0, device="cpu"))
    assert detector.class_names == {0: "0", 1: "1"}
    (found,) = detector.detect([np.zeros((64, 48, 3), dtype=np.uint8)])
    assert len(found) > 0
    described = describe(weights)
    assert (described.error, described.architecture, described.input_size) == ("", name, 96)
    assert described.classes == detector.class_names
    assert described.parameters == sum(each.numel() for each in load_network(weights.path).parameters())


class Attack:
    """An object whose pickle creates a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_weights_that_would_run_code_are_rejected(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"model": Attack(mark)}, tmp_path / "attack.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Attack(mark)))
    for name in ("attack.pt", "bare.pt"):
        with pytest.raises(WeightsError, match=name):
            load_network(tmp_path / name)
    assert not mark.exists()


def test_ultralytics_does_not_patch_pillow() -> None:
    isolate_ultralytics()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"<html>"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", b"\x80\x04K\x01."])
def test_broken_weights_are_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.pt"):
        load_network(tmp_path / "broken.pt")


def test_weights_for_another_task_are_rejected(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import ClassificationModel

    network = ClassificationModel("yolov8n-cls.yaml", nc=2, verbose=False)
    torch.save({"model": network, "ema": None, "train_args": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="ClassificationModel"):
        load_network(tmp_path / "other.pt")


def test_a_chosen_default_applies_to_all_processes(store: ModelStore) -> None:
    web, worker = store, ModelStore(store.folder, "best_eida.pt", store.folder / "chosen.json")
    assert web.find().name == worker.find().name == "best_eida.pt"
    default = web.set_default(web.find("other"))
    assert (default.name, default.previous) == ("other.pt", "best_eida.pt")
    assert worker.find().name == "other.pt"
    assert worker.default == default


def test_a_missing_default_is_not_replaced(store: ModelStore) -> None:
    store.set_default(store.find("other"))
    (store.folder / "other.pt").unlink()
    with pytest.raises(RequestError, match=r"'other\.pt' is not among .*: best_eida\.pt\. It is the default: name "):
        store.find()
    assert store.find("best_eida").name == "best_eida.pt"


def test_boxes_equal_those_of_ultralytics_predict(tmp_path: Path) -> None:
    from ultralytics import YOLO

    network = load_network(DEFAULT)
    network.args = {"imgsz": 640}  # without box voting
    torch.save({"model": network}, tmp_path / "plain.pt")
    with Image.open(ROOT / "iiif" / "sample" / "page_0001.jpg") as page:
        image = np.asarray(page.convert("RGB"))
    config = DetectorConfig(device="cpu")
    (found,) = load_detector(Weights.at(tmp_path / "plain.pt"), config).detect([image])
    (voted,) = load_detector(Weights.at(DEFAULT), config).detect([image])
    (expected,) = YOLO(DEFAULT).predict(image[..., ::-1], imgsz=640, conf=0.25, iou=0.45, verbose=False, device="cpu")
    assert len(found) == len(expected.boxes) > 0
    assert np.abs(found.xyxy - expected.boxes.xyxy.numpy()).max() < 1
    assert np.abs(found.confidence - expected.boxes.conf.numpy()).max() < 0.01
    assert np.array_equal(voted.confidence, found.confidence)
    assert np.diagonal(compute_iou(voted.xyxy, found.xyxy)).min() > 0.8
