"""Networks from checkpoints of ultralytics, built without running the files.

Such a checkpoint is a pickle of the network's Python objects. Nothing in it is imported or called. The network is
rebuilt from the parsed records (``checkpoint.py``):

- a layer becomes an instance of the class of that name in torch or in the installed ultralytics, in any module;
- plain values, tensors and layers become its attributes. Others are left out, such as the loss of the training.
"""

import importlib
import math
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from app.detection.weights_files.checkpoint import Checkpoint, find_tensor, read_classes
from app.detection.weights_files.library import REPLACED, load_library
from app.detection.weights_files.permitted import DILL
from app.detection.weights_files.pickles import Record

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

_NUMBERS = {
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ShortStorage": torch.int16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
}
_SETS = ("builtins.set", f"the result of {DILL}")
_LEFT_OUT = object()


def read_tensor(checkpoint: Checkpoint, record: Any) -> torch.Tensor:
    """Return a tensor from a checkpoint; floating-point types are converted to float32.

    Raises:
        TypeError, ValueError: If it is not a tensor, or exceeds its storage.
    """
    tensor = find_tensor(record)
    if tensor is None:
        raise TypeError("a tensor is missing")
    (_, numbers, *_), offset, size, stride, *_ = tensor.args
    content = checkpoint.read_numbers(tensor)
    flat = torch.frombuffer(bytearray(content), dtype=_NUMBERS[numbers.kind]) if content else torch.empty(0)
    if math.prod(size) > len(flat):
        raise ValueError("a tensor has more elements than its storage")
    array = flat.as_strided(size, stride, offset)
    return array.float() if array.is_floating_point() else array


class _Builder:
    """Builds the layers of a checkpoint; a record that is used twice becomes one object."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._built: dict[int, Any] = {}
        self._is_before_84 = re.match(r"8\.[0-3]\.", str(checkpoint.content.get("version"))) is not None

    def build(self, record: Record) -> nn.Module:
        if id(record) not in self._built:
            kind = _find_class(record.kind)
            module = self._built[id(record)] = kind.__new__(kind)
            nn.Module.__init__(module)
            # Hooks belong to the process that saved the file.
            values = {name: self._value(value) for name, value in record.state.items() if "_hooks" not in name}
            # Releases before 8.4 detect with the head without NMS of YOLOv10; later ones with the other head.
            if record.kind.endswith(".v10Detect") and self._is_before_84:
                values["_end2end"] = True
            module.__setstate__({name: value for name, value in values.items() if value is not _LEFT_OUT})
        module = self._built[id(record)]
        if not isinstance(module, nn.Module):
            raise TypeError("a layer is not a module")
        return module

    def build_plain(self, values: Any) -> dict[str, Any]:
        """Return the plain values of a dictionary."""
        return self._value(values) if isinstance(values, dict) else {}

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Record) and value.kind.startswith(("torch.nn.modules.", "ultralytics.nn.")):
            return self.build(value)
        if id(value) not in self._built:
            self._built[id(value)] = self._convert(value)
        return self._built[id(value)]

    def _convert(self, value: Any) -> Any:
        match value:
            case dict():
                found = {key: self._value(each) for key, each in value.items()}
                return {key: each for key, each in found.items() if each is not _LEFT_OUT}
            case list() | tuple():
                items = [self._value(each) for each in value]
                return _LEFT_OUT if _LEFT_OUT in items else type(value)(items)
            case Record(kind="torch.Size"):
                return torch.Size(value.args[0])
            case Record(kind="builtins.getattr"):  # the forward pass of a fused layer
                return getattr(self.build(value.args[0]), value.args[1])
            case Record() if value.kind in _SETS:
                return set(value.args[0]) if value.args else set()
            case Record() if find_tensor(value):
                tensor = read_tensor(self._checkpoint, value)
                if value.kind.startswith("torch._utils._rebuild_parameter"):
                    return nn.Parameter(tensor, requires_grad=bool(value.args[1]) and tensor.is_floating_point())
                return tensor
        return _LEFT_OUT


def _find_class(kind: str) -> type[nn.Module]:
    """Return the class of a layer, in the module where the installed library has it.

    Raises:
        TypeError: If there is no such class of layers.
    """
    module, _, name = kind.rpartition(".")
    if module == "ultralytics.nn.tasks":
        name = "DetectionModel" if name == "YOLOv10DetectionModel" else name
    elif module.startswith("ultralytics.nn.modules"):
        replaced = REPLACED.get(name, "")
        module, name = replaced.rsplit(".", 1) if replaced else (load_library().layers[name].module, name)
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise TypeError(f"{kind} is not a layer")
    return found


def build_ultralytics(checkpoint: Checkpoint) -> "BaseModel":
    """Return the network of a checkpoint of ultralytics in float32.

    Args:
        checkpoint: Checkpoint that ``permitted`` has accepted.

    Raises:
        Exception: Any exception, if the file is damaged or inconsistent.
    """
    builder = _Builder(checkpoint)
    network: Any = builder.build(checkpoint.network)
    if not hasattr(network, "args"):  # releases of ultralytics store them as different kinds of objects
        network.args = builder.build_plain(checkpoint.content.get("train_args") or {})
    network.names = read_classes(checkpoint.network)
    return network.float().eval()
