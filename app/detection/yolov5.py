"""YOLOv5 checkpoints as the ultralytics/yolov5 repository saves them, read without running what is in them.

Such a file is a pickle of a network's Python objects. Nothing that it names is imported or called here: every name
becomes an inert ``_Record`` that keeps what it is given, and a name that no YOLOv5 detection network needs is refused.
The network is then built anew from the records: each layer by torch, each block by ultralytics' class of the same
computation with the children that the file has, the head by ``AnchorDetect``.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from app.errors import WeightsError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

# Layers of torch, each with the arguments that describe it, which are attributes of the same name.
_LAYERS = {
    "torch.nn.modules.conv.Conv2d": "in_channels out_channels kernel_size stride padding dilation groups padding_mode",
    "torch.nn.modules.batchnorm.BatchNorm2d": "num_features eps momentum",
    "torch.nn.modules.batchnorm.SyncBatchNorm": "num_features eps momentum",
    "torch.nn.modules.pooling.MaxPool2d": "kernel_size stride padding dilation ceil_mode",
    "torch.nn.modules.upsampling.Upsample": "size scale_factor mode align_corners",
    "torch.nn.modules.linear.Identity": "",
    "torch.nn.modules.activation.LeakyReLU": "negative_slope",
    **{f"torch.nn.modules.activation.{name}": "" for name in ("SiLU", "ReLU", "Hardswish")},
}

# Containers of torch and blocks of models/common.py, each with the attributes that its computation depends on.
_BLOCKS = {
    **{f"torch.nn.modules.container.{name}": "" for name in ("Sequential", "ModuleList")},
    **{f"models.common.{name}": "" for name in ("Conv", "DWConv", "Focus", "SPP", "SPPF", "C3", "BottleneckCSP")},
    **{f"models.common.{name}": "" for name in ("GhostConv", "GhostBottleneck", "C3Ghost")},
    "models.common.Bottleneck": "add",
    "models.common.Concat": "d",
}

_NUMBERS = {"torch.HalfStorage": torch.float16, "torch.FloatStorage": torch.float32, "torch.LongStorage": torch.int64}


class _Record:
    """What a file says of one object: the name of its class or function, the arguments of the call, its state."""

    kind = ""

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _FusedForward(_Record):
    """``getattr`` in a file: a fused convolution holds its method ``forward_fuse``. Nothing else may be asked for."""

    def __init__(self, owner: Any, name: str) -> None:
        if name != "forward_fuse":
            raise pickle.UnpicklingError(f"getattr {name!r}")


_OTHER_CLASSES = {"collections.OrderedDict": OrderedDict, "builtins.getattr": _FusedForward}

# Beside the parts of a network: itself (``Model`` until 6.1) and what train.py saves with it, which is not looked at.
_KNOWN = {
    *(*_LAYERS, *_BLOCKS, *_NUMBERS, *_OTHER_CLASSES),
    *("models.yolo.Model", "models.yolo.DetectionModel", "models.yolo.Detect"),
    "torch.nn.parallel.data_parallel.DataParallel",
    *(f"{module}.{system}Path" for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows")),
    *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size", "torch.device"),
    *(f"torch.{name}Storage" for name in ("BFloat16", "Double", "Int", "Byte", "Bool")),
    *("numpy.dtype", "numpy.ndarray", "_codecs.encode", "builtins.set", "argparse.Namespace"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
}


class _RecordReader(pickle._Unpickler):
    """Reads the pickle of a named file into records. The unpickler in C would reserve memory for any memo index."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(BytesIO(content))
        self._name = name

    def find_class(self, module: str, name: str) -> type:
        kind = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if kind not in _KNOWN:
            raise WeightsError(
                f"{self._name} contains {kind[:100]}, which is not part of a YOLOv5 network: it is not loaded."
            )
        return _OTHER_CLASSES.get(kind) or type("_Record", (_Record,), {"kind": kind})

    def persistent_load(self, pid: Any) -> Any:
        return pid


class AnchorDetect(nn.Module):
    """The anchor head of YOLOv5 (``Detect`` in models/yolo.py), answering as ultralytics' heads do.

    YOLOv5 drops boxes whose objectness is below the threshold, then multiplies objectness into the class scores and
    drops again (``non_max_suppression`` in utils/general.py). No product is above its factors, so to multiply here and
    drop once leaves the same boxes.

    Args:
        convolutions: One a level.
        anchors: ``(levels, anchors, 2)`` width and height in pixels.
        strides: Pixels a cell, for each level.
    """

    anchors: torch.Tensor

    def __init__(self, convolutions: Iterable[nn.Module], anchors: torch.Tensor, strides: Sequence[float]) -> None:
        super().__init__()
        self.m = nn.ModuleList(convolutions)
        self.strides = strides
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return ``(b, 4 + classes, n)``: centre and size in input pixels, then a score for each class."""
        levels = zip(self.m, features, self.anchors, self.strides, strict=True)
        return torch.cat([_decode(layer(feature), anchors, stride) for layer, feature, anchors, stride in levels], 2)


def _decode(raw: torch.Tensor, anchors: torch.Tensor, stride: float) -> torch.Tensor:
    """Turn the ``(b, anchors * (5 + classes), h, w)`` of one level into boxes and scores, in float32."""
    batch, _, height, width = raw.shape
    # Half precision would place a box at 1000 pixels to the nearest half pixel.
    raw = raw.float().view(batch, len(anchors), -1, height, width).sigmoid()
    centre, extent, objectness, classes = raw.split((2, 2, 1, raw.shape[2] - 5), 2)
    rows, columns = (torch.arange(length, device=raw.device) for length in (height, width))
    centre = (centre * 2 - 0.5 + torch.stack(torch.meshgrid(columns, rows, indexing="xy"))) * stride
    extent = (extent * 2) ** 2 * anchors.float()[:, :, None, None]
    return torch.cat((centre, extent, objectness * classes), 2).transpose(1, 2).flatten(2)


class _Builder:
    """Builds a network from records; the archive holds the numbers of its tensors, in a folder."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder
        self._built = 0

    def build_network(self, record: _Record) -> "BaseModel":
        from ultralytics.nn.tasks import BaseModel

        if record.kind.endswith(".DataParallel"):
            record = record.state["_modules"]["module"]
        records = list(record.state["_modules"]["model"].state["_modules"].values())
        head = self._build_head(records[-1])
        network: Any = BaseModel()
        network.model = nn.Sequential(*map(self._build, records[:-1]), head)
        network.save = _connect(network.model, [record.state["f"] for record in records])
        network.stride = torch.tensor(head.strides)
        names = record.state["names"]  # a list until 6.1
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        network.names = {int(number): str(name) for number, name in numbered}
        return network.eval()

    def _build(self, record: _Record) -> nn.Module:
        self._built += 1
        if self._built > 10_000:
            raise ValueError("too many modules")  # yolov5x6 has 733; a file of a few bytes could describe 2**40
        return self._build_layer(record) if record.kind in _LAYERS else self._build_block(record)

    def _build_layer(self, record: _Record) -> nn.Module:
        arguments = {name: record.state[name] for name in _LAYERS[record.kind].split()}
        tensors = {**record.state["_parameters"], **record.state["_buffers"]}
        if record.kind.endswith(".Conv2d"):
            arguments["bias"] = tensors["bias"] is not None
        # Without memory of its own: a size in a file is but a number until tensors fit it.
        with torch.device("meta"):
            layer = getattr(nn, record.kind.rpartition(".")[2])(**arguments)
        layer.load_state_dict({name: self._tensor(tensor) for name, tensor in tensors.items() if tensor}, assign=True)
        return layer

    def _build_block(self, record: _Record) -> nn.Module:
        from ultralytics.nn import modules

        package, _, name = record.kind.rpartition(".")
        kind = getattr(modules if package == "models.common" else nn, name)
        # Not by its constructor, which has changed since YOLOv5: SPPF has lost an activation, for one.
        block = kind.__new__(kind)
        nn.Module.__init__(block)
        for attribute in _BLOCKS[record.kind].split():
            setattr(block, attribute, record.state[attribute])
        for key, child in record.state["_modules"].items():
            block.add_module(key, self._build(child))
        if isinstance(block, modules.Conv) and not hasattr(block, "bn"):
            block.forward = block.forward_fuse  # type: ignore[method-assign]
        return block

    def _build_head(self, record: _Record) -> AnchorDetect:
        strides = self._tensor(record.state["stride"])
        anchors = self._tensor(record.state["_buffers"]["anchors"]) * strides[:, None, None]  # saved in cells
        return AnchorDetect(self._build_block(record.state["_modules"]["m"]).children(), anchors, strides.tolist())

    def _tensor(self, record: _Record) -> torch.Tensor:
        """Return a tensor; in float32 if it is of any other floating-point type."""
        if record.kind == "torch._utils._rebuild_parameter":
            record = record.args[0]
        (_, numbers, key, *_), offset, size, stride, *_ = record.args
        content = self._archive.read(f"{self._folder}/data/{key}")
        flat = torch.frombuffer(bytearray(content), dtype=_NUMBERS[numbers.kind])
        if math.prod(size) > len(flat):
            raise ValueError("a tensor with more elements than numbers")
        tensor = flat.as_strided(size, stride, offset)
        return tensor.float() if tensor.is_floating_point() else tensor


def _connect(layers: Iterable[Any], sources: Sequence[int | list[int]]) -> list[int]:
    """Tell each layer its number and where its input comes from; return the layers whose output is needed later."""
    needed = set()
    for number, (layer, source) in enumerate(zip(layers, sources, strict=True)):
        layer.i, layer.f = number, source
        before = [index for index in ([source] if isinstance(source, int) else source) if index != -1]
        if not all(-number <= index < number for index in before):
            raise ValueError(f"layer {number} takes its input from {source}")
        needed |= {index % number for index in before}
    return sorted(needed)


def load_yolov5(path: Path) -> "BaseModel | None":
    """Load the network of a YOLOv5 checkpoint in float32, its moving average (``ema``) where there is one.

    Returns:
        None for a file that names no class of models/yolo.py.

    Raises:
        WeightsError: The file names something that is not part of a YOLOv5 detection network.
        Exception: Of any kind; the file is damaged, or not what it says.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("the archive unpacks to more than the file")
        folder = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("/data.pkl")
        content = archive.read(f"{folder}/data.pkl")
        if b"cmodels.yolo\n" not in content:
            return None
        checkpoint = _RecordReader(content, path.name).load()
        return _Builder(archive, folder).build_network(checkpoint.get("ema") or checkpoint["model"])
