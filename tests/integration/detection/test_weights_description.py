import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT
from app.detection import weights_description as description
from app.detection.weights_description import Descriptions, describe, load_card
from app.detection.weights_files.pickles import Name
from tests.support.checkpoints import Call, find_weights, make_module, make_tensor, save_pickle, save_records
from tests.support.yolov5_networks import SIZES, fuse, make_network, save

DEFAULT = ROOT / "models" / "illustrations.pt"


def test_the_default_weights_are_described() -> None:
    found = describe(find_weights(DEFAULT))
    assert found.sha256 == hashlib.sha256(DEFAULT.read_bytes()).hexdigest()
    assert found.size == DEFAULT.stat().st_size
    assert (found.error, found.architecture, found.classes) == ("", "YOLOv5nu", {0: "illustration"})
    assert found.input_size == 640


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p6", [False, True])
def test_yolov5_is_named_by_its_size_and_levels(tmp_path: Path, size: str, p6: bool) -> None:
    network = make_network(p6=p6)
    network.yaml = {"nc": 2, "depth_multiple": SIZES[size][0], "width_multiple": SIZES[size][1]}
    found = describe(find_weights(save(tmp_path / "x.pt", model=network, opt={"imgsz": 512})))
    assert (found.error, found.architecture) == ("", f"YOLOv5{size}{'6' if p6 else ''}")
    assert (found.classes, found.input_size) == ({0: "diagram", 1: "initial"}, 512)
    assert found.parameters == sum(each.numel() for each in network.parameters())


def test_properties_that_a_yolov5_does_not_record_are_left_out(tmp_path: Path) -> None:
    found = describe(find_weights(save(tmp_path / "x.pt", model=fuse(make_network()))))
    assert (found.error, found.architecture, found.input_size) == ("", "YOLOv5", None)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ({"yaml_file": "/home/x/yolo11.yaml", "scale": "s"}, "YOLO11s"),
        ({"yaml_file": r"C:\x\yolov8.yaml", "scale": ""}, "YOLOv8"),
        ({"yaml_file": "yolov5m-p6.yaml", "scale": "m"}, "YOLOv5m6u"),
        ({"yaml_file": "rtdetr-resnet50.yaml"}, "RT-DETR-resnet50"),
        ({"yaml_file": "mine.yaml", "scale": "s"}, "mine"),
        ({"yaml_file": ["x"], "scale": {}}, "YOLO"),
        ({}, "YOLO"),
        (None, "YOLO"),
    ],
)
def test_networks_of_ultralytics_are_named_by_their_yaml_file(tmp_path: Path, layout: Any, name: str) -> None:
    network = make_module()
    network.state["yaml"] = layout
    assert describe(find_weights(save_records(tmp_path / "x.pt", network))).architecture == name


@pytest.mark.parametrize(
    ("recorded", "size"),
    [
        (640, 640),
        (1280, 1280),
        ([480, 960], 960),
        ((1280,), 1280),
        (["1280", 10**9], 1280),
        ("1280", 1280),
        *((absurd, None) for absurd in (0, -640, 31, 4097, 10**9, 640.5, True, None, "", "large", "9" * 400, [], {})),
    ],
)
def test_only_a_plausible_input_size_is_reported(tmp_path: Path, recorded: Any, size: int | None) -> None:
    arguments = Call("ultralytics.utils.IterableSimpleNamespace", (), {"imgsz": recorded})
    for each in (arguments, {"imgsz": recorded}):
        path = save_records(tmp_path / "x.pt", make_module(), train_args=each)
        assert describe(find_weights(path)).input_size == size
        network = make_module()
        network.state["args"] = each
        path = save_records(tmp_path / "x.pt", network, train_args={"imgsz": "unknown"})
        assert describe(find_weights(path)).input_size == size


@pytest.mark.parametrize(
    "record", [{"opt": {"imgsz": 1280}}, {"opt": {"img_size": [1280, 1280]}}, {"hyp": {"imgsz": 1280}}]
)
def test_yolov5_records_its_input_size_in_several_places(tmp_path: Path, record: dict[str, Any]) -> None:
    path = save(tmp_path / "x.pt", model=make_network(), **record)
    assert describe(find_weights(path)).input_size == 1280


def test_shared_parameters_count_once(tmp_path: Path) -> None:
    layer = make_module("torch.nn.modules.linear.Linear")
    parameter = Call("torch._utils._rebuild_parameter", (make_tensor((4,), (1,)), True, {}))
    layer.state["_parameters"] = {"weight": parameter}
    found = describe(find_weights(save_records(tmp_path / "x.pt", make_module(a=layer, b=layer))))
    assert (found.error, found.parameters) == ("", 4)


def write_text(path: Path) -> None:
    path.write_text("<html>")


def write_nested(path: Path) -> None:
    save_pickle(path, b"\x80\x02" + b"]" * 400_000 + b"a" * 399_999 + b".")


def write_hostile(path: Path) -> None:
    save_records(path, make_module(), extra=Call("os.mkdir", (str(path.parent / "ran"),)))


def write_impostor(path: Path) -> None:
    save_records(path, make_module("evil.nn.tasks.DetectionModel"))


def write_wide(path: Path) -> None:
    network = make_module()
    network.state["yaml"] = {"width_multiple": Name("x.y")}
    save_records(path, network, extra=Name("models.yolo.Model"))


HOSTILE = [Path.touch, write_text, write_nested, write_hostile, write_impostor, write_wide]


@pytest.mark.parametrize("write", HOSTILE, ids=lambda each: each.__name__)
def test_an_unusable_file_is_described_by_one_error_sentence(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "x.pt"
    write(path)
    found = describe(find_weights(path))
    assert found.error.startswith("x.pt ")
    assert found.error.endswith(".")
    assert "\n" not in found.error
    assert (found.architecture, found.parameters, found.classes) == (None, None, {})
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_described_as_unreadable(tmp_path: Path) -> None:
    path = save_records(tmp_path / "x.pt", make_module())
    weights = find_weights(path)
    path.unlink()
    assert describe(weights).error.startswith("x.pt cannot be read")


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(description, "describe", lambda weights: read.append(weights) or describe(weights))
    path, descriptions = save_records(tmp_path / "x.pt", make_module()), Descriptions()
    first = descriptions.describe(find_weights(path))
    assert descriptions.describe(find_weights(path)) is first
    os.utime(path, (1, 1))
    assert descriptions.describe(find_weights(path)) == first
    save_records(path, make_module(), extra="something")
    os.utime(path, (1, 1))
    assert descriptions.describe(find_weights(path)).sha256 != first.sha256
    assert len(read) == 3


def test_the_description_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_MOST_REMEMBERED", 2)
    descriptions = Descriptions()
    for name in ("a.pt", "b.pt", "c.pt"):
        (tmp_path / name).touch()
        descriptions.describe(find_weights(tmp_path / name))
    assert len(descriptions._made) == 2


def test_the_card_is_the_markdown_file_next_to_the_weights(tmp_path: Path) -> None:
    assert load_card(tmp_path / "x.pt") is None
    (tmp_path / "x.md").mkdir()
    assert load_card(tmp_path / "x.pt") is None
    (tmp_path / "y.md").write_bytes("# Éléments\n".encode() + b"\xff")
    assert load_card(tmp_path / "y.pt") == "# Éléments\n�"
