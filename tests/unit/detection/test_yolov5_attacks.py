"""YOLOv5 checkpoints that are malicious or damaged."""

import builtins
import functools
import importlib
import operator
import os
import pickle
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from app.detection.weights import isolate_ultralytics, load_network
from app.errors import WeightsError
from tests.support.yolov5_networks import DetectionModel, SegmentationModel, make_network, original_names, save


@pytest.fixture(scope="module", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    isolate_ultralytics(tmp_path_factory.mktemp("ultralytics"))


class Call:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


MARK = "ran"
# Keys are the names in pickle protocol 2, some of which are those of Python 2.
CALLS = {
    "posix.mkdir": Call(os.mkdir, MARK),
    "posix.system": Call(os.system, f"mkdir {MARK}"),
    "builtins.eval": Call(eval, f"__import__('os').mkdir({MARK!r})"),
    "builtins.exec": Call(exec, f"import os; os.mkdir({MARK!r})"),
    f"{open.__module__}.open": Call(open, MARK, "w"),
    "builtins.__import__": Call(builtins.__import__, "antigravity"),
    "itertools.imap": Call(map, os.mkdir, [MARK]),
    "commands.Popen": Call(subprocess.Popen, ["mkdir", MARK]),
    "importlib.import_module": Call(importlib.import_module, "antigravity"),
    "functools.partial": Call(functools.partial, os.mkdir, MARK),
    "operator.attrgetter": Call(operator.attrgetter("forward.__globals__")),
    "torch.serialization.load": Call(torch.load, MARK),
    "torch.hub.load": Call(torch.hub.load, MARK, MARK),
    "torch.jit._serialization.load": Call(torch.jit.load, MARK),
    "torch.storage._load_from_bytes": Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.mkdir, MARK))),
    "torch.nn.modules.module.Module": Call(nn.Module),
    "numpy.save": Call(np.save, MARK, np.ones(1)),
    "numpy.lib.format.open_memmap": Call(np.lib.format.open_memmap, MARK, "w+"),
    "pickle.loads": Call(pickle.loads, pickle.dumps(Call(os.mkdir, MARK))),
    "pathlib.Path": Call(Path.touch, Path(MARK)),
}


@pytest.mark.parametrize("name", CALLS)
def test_any_other_name_in_a_yolov5_file_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # Once next to a good network, once inside it.
    network = make_network()
    network.model[0].conv.stride = CALLS[name]  # type: ignore[assignment]
    for checkpoint in ({"model": make_network(), "extra": CALLS[name]}, {"model": network}):
        path = save(tmp_path / "attack.pt", **checkpoint)
        with pytest.raises(WeightsError, match=re.escape(f"attack.pt contains {name}, which is not part of a YOLOv5")):
            load_network(path)
    assert list(tmp_path.iterdir()) == [path]


def test_networks_for_another_task_and_changed_ones_are_rejected(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.pt", model=make_network(kind=SegmentationModel))
    with pytest.raises(WeightsError, match=r"seg\.pt contains models\.yolo\.SegmentationModel, which is not"):
        load_network(path)
    network = make_network()
    network.model[0].act = nn.Tanh()
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.activation\.Tanh"):
        load_network(save(tmp_path / "changed.pt", model=network))


def test_a_getattr_chain_is_rejected(tmp_path: Path) -> None:
    with original_names():
        chain = Call(getattr, Call(getattr, DetectionModel, "forward"), "__globals__")
    with pytest.raises(WeightsError, match=r"attack\.pt"):
        load_network(save(tmp_path / "attack.pt", model=make_network(), extra=chain))


NAMED = b"\x80\x02cmodels.yolo\nModel\n"


MALFORMED = {
    "call of an instance": NAMED + b")R)R.",
    "state of a class": NAMED + b"}b.",
    "attributes of a class": NAMED + b"N}U\x03argK\x01s\x86b.",
    "huge memo index": NAMED + b"r\xff\xff\xff\x7f.",
    "code of a function": NAMED + b"0ctorch._utils\n_rebuild_tensor_v2\nN}U\x08__code__Ns\x86b.",
    "method of a class": NAMED + b"0ccollections\nOrderedDict\nN}U\x05itemsNs\x86b.",
    "INST opcode": NAMED + b"0(U\x04echoios\nsystem\n.",
    "extension registry": NAMED + b"0\x82\x01.",
    "attribute of a class": NAMED + b"0\x80\x04\x8c\x0bmodels.yolo\x8c\x1aModel.__init__.__globals__\x93.",
    "attribute of a module": NAMED + b"0\x80\x04\x8c\x12torch.nn.modules.x\x8c\x09os.system\x93.",
    "network without state": NAMED + b"0}U\x05model" + NAMED[2:] + b")\x81s.",
    "network without modules": NAMED + b"0}U\x05model" + NAMED[2:] + b")\x81}U\x08_modulesNsbs.",
    "deep nesting": NAMED + b"0" + b"(" * 100_000 + b"t" * 100_000 + b".",
    "repeated STOP": NAMED + b"0]" + b"." * 10,
    "no STOP": NAMED,
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed_pickles_are_rejected(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "attack.pt", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    with pytest.raises(WeightsError, match=r"attack\.pt"):
        load_network(tmp_path / "attack.pt")


def nest(layer: nn.Module) -> nn.Module:
    for _ in range(40):
        layer = nn.Sequential(layer, layer)
    return layer


def expand(layer: Any) -> nn.Module:
    layer.conv.weight = nn.Parameter(torch.ones(1).expand(2**20, 2**20, 1, 1))
    return layer


def enlarge(layer: Any) -> nn.Module:
    layer.conv.out_channels = 2**40
    return layer


@pytest.mark.parametrize(
    "change",
    [nest, expand, enlarge],
    ids=["2**40 layers", "4 TB tensor", "layer of terabytes"],
)
def test_networks_of_huge_size_are_rejected(tmp_path: Path, change: Callable[[nn.Module], nn.Module]) -> None:
    network = make_network()
    network.model[1] = change(network.model[1])
    network.model[1].i, network.model[1].f = 1, -1
    with pytest.raises(WeightsError, match=r"attack\.pt"):
        load_network(save(tmp_path / "attack.pt", model=network))


def test_a_zip_bomb_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", NAMED + bytes(2**24))
    with pytest.raises(WeightsError, match=r"bomb\.pt"):
        load_network(tmp_path / "bomb.pt")


@pytest.mark.parametrize("source", [7, -3, [0, "x"], None])
def test_connections_to_missing_layers_are_rejected(tmp_path: Path, source: Any) -> None:
    network = make_network()
    network.model[1].f = source
    with pytest.raises(WeightsError, match=r"m\.pt"):
        load_network(save(tmp_path / "m.pt", model=network))


def test_a_truncated_checkpoint_is_rejected(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", model=make_network())
    content = path.read_bytes()
    for length in (100, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"m\.pt"):
            load_network(path)
