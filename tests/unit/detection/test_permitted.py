from pathlib import Path
from typing import Any

import pytest

from app.detection.weights_files import permitted
from app.detection.weights_files.checkpoint import open_checkpoint
from app.detection.weights_files.pickles import Name, Record
from app.errors import WeightsError
from tests.support.checkpoints import Call, make_module, make_tensor, save_records

DAMAGED = r"x\.pt is not a torch checkpoint, or it is damaged"


def check(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        permitted.check(checkpoint)


def test_a_network_is_permitted(tmp_path: Path) -> None:
    layers = make_module("torch.nn.modules.container.Sequential", a=make_module("ultralytics.nn.modules.conv.Conv"))
    check(save_records(tmp_path / "x.pt", make_module(model=layers, none=None), train_args={"imgsz": 640}))


LINEAR = "torch.nn.modules.linear.Linear"


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (Name("posix.system"), r"x\.pt contains posix\.system, which is not part of a detection network"),
        (Call("posix.system", ("true",)), r"x\.pt contains posix\.system, which is not part of a detection network"),
        (Name("models.nn.tasks.DetectionModel"), r"models\.nn\.tasks\.DetectionModel"),
        (Name("ultralytics.nn.tasks.torch"), r"ultralytics\.nn\.tasks\.torch"),
        (Name("ultralytics.nn.modules.conv.Conv.__init__"), r"Conv\.__init__"),
        (Name("ultralytics.utils.checks.check_requirements"), "check_requirements"),
        (Name("torch.hub.load"), r"torch\.hub\.load"),
        (Name("ultralytics.models.yolo.model.YOLO"), r"contains ultralytics\.models\.yolo\.model\.YOLO"),
        (Call(LINEAR, (9, 9)), r"x\.pt calls torch\.nn\.modules\.linear\.Linear, which no checkpoint does"),
        (Call("builtins.getattr", (Name(LINEAR), "__new__")), "reads an attribute, which no checkpoint does"),
    ],
)
def test_any_other_name_in_a_file_is_rejected_and_reported(tmp_path: Path, extra: Any, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        check(save_records(tmp_path / "x.pt", make_module(), extra=extra))
    with pytest.raises(WeightsError, match=reason):
        check(save_records(tmp_path / "x.pt", make_module(model=extra)))


@pytest.mark.parametrize("kind", ["SegmentationModel", "WorldModel", "DetectionModelX"])
def test_networks_for_other_tasks_are_rejected(tmp_path: Path, kind: str) -> None:
    with pytest.raises(WeightsError, match=rf"x\.pt contains a {kind}, which is not a detection network"):
        check(save_records(tmp_path / "x.pt", make_module(f"ultralytics.nn.tasks.{kind}")))


@pytest.mark.parametrize(
    ("tensor", "good"),
    [
        (make_tensor((4,), (1,)), True),
        (make_tensor((2, 2), (1, 2)), True),
        (make_tensor((), ()), True),
        (make_tensor((0,), (1,)), True),
        (make_tensor((80, 80, 2), (0, 0, 1)), True),  # like the anchors of YOLOv5
        (make_tensor((2**48,), (0,)), False),
        (make_tensor((2**48,), (1,)), False),
        (make_tensor((4,), (1,), offset=1), False),
        (make_tensor((4,), (2,)), False),
        (make_tensor((4,), (-1,), offset=3), False),
        (make_tensor((0.0,), (1,)), False),
        (make_tensor((4,), ()), False),
        (make_tensor((1,) * 99, (0,) * 99), False),
    ],
)
def test_a_tensor_must_fit_its_storage(tmp_path: Path, tensor: Record, good: bool) -> None:
    network = make_module()
    network.state["_parameters"]["weight"] = tensor
    path = save_records(tmp_path / "x.pt", network)
    if good:
        return check(path)
    with pytest.raises(WeightsError, match=DAMAGED):
        check(path)


def nest() -> Record:
    """Return a module with two children that are the same module, nested 40 times."""
    module = make_module(LINEAR)
    for _ in range(40):
        module = make_module(LINEAR, a=module, b=module)
    return module


def make_circle() -> Record:
    """Return a module that contains itself."""
    module = make_module(LINEAR)
    module.state["_modules"]["itself"] = module
    return module


@pytest.mark.parametrize(
    "module", [nest(), make_circle(), {}, "x"], ids=["2**40 modules", "a cycle", "a dictionary", "a string"]
)
def test_endlessly_nested_networks_are_rejected(tmp_path: Path, module: Any) -> None:
    with pytest.raises(WeightsError, match=DAMAGED):
        check(save_records(tmp_path / "x.pt", make_module(model=module)))


@pytest.mark.parametrize("names", [None, {0: []}, 5, {"x": "a"}, [None]])
def test_invalid_class_names_are_rejected(tmp_path: Path, names: Any) -> None:
    network = make_module()
    network.state["names"] = names
    with pytest.raises(WeightsError, match=DAMAGED):
        check(save_records(tmp_path / "x.pt", network))
