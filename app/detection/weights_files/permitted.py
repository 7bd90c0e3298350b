"""Allow list for checkpoints: only detection networks that name known classes and functions are loaded.

The loaders never run code of a file. This check comes before them, without torch. It rejects files that would take
hours or all the memory to load, and gives the reason.
"""

import re
from typing import Any

from app.detection.weights_files.checkpoint import ADVICE, Checkpoint, children, find_tensor, read_classes
from app.detection.weights_files.library import REPLACED, load_library
from app.detection.weights_files.pickles import Record
from app.errors import WeightsError

# torch layers in YOLOv5, each with its constructor arguments; the layer has attributes of the same names.
YOLOV5_LAYERS = {
    "torch.nn.modules.conv.Conv2d": "in_channels out_channels kernel_size stride padding dilation groups padding_mode",
    "torch.nn.modules.batchnorm.BatchNorm2d": "num_features eps momentum",
    "torch.nn.modules.batchnorm.SyncBatchNorm": "num_features eps momentum",
    "torch.nn.modules.pooling.MaxPool2d": "kernel_size stride padding dilation ceil_mode",
    "torch.nn.modules.upsampling.Upsample": "size scale_factor mode align_corners",
    "torch.nn.modules.linear.Identity": "",
    "torch.nn.modules.activation.LeakyReLU": "negative_slope",
    **{f"torch.nn.modules.activation.{name}": "" for name in ("SiLU", "ReLU", "Hardswish")},
}

# torch containers and blocks of models/common.py in YOLOv5, each with the attributes that its forward pass uses.
YOLOV5_BLOCKS = {
    **{f"torch.nn.modules.container.{name}": "" for name in ("Sequential", "ModuleList")},
    **{f"models.common.{name}": "" for name in ("Conv", "DWConv", "Focus", "SPP", "SPPF", "C3", "BottleneckCSP")},
    **{f"models.common.{name}": "" for name in ("GhostConv", "GhostBottleneck", "C3Ghost")},
    "models.common.Bottleneck": "add",
    "models.common.Concat": "d",
}

# Types that are not part of a network: tensor data, and the state that training saves with it.
_DATA = {
    "collections.OrderedDict",
    *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size", "torch.device"),
    *(f"torch.{name}Storage" for name in ("Half", "Float", "Long", "BFloat16", "Double", "Int", "Byte", "Bool")),
    *(f"{module}.{system}Path" for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows")),
    *("numpy.dtype", "numpy.ndarray", "_codecs.encode", "builtins.set", "builtins.getattr", "argparse.Namespace"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
}
_YOLOV5 = {
    *(*_DATA, *YOLOV5_LAYERS, *YOLOV5_BLOCKS),
    *("models.yolo.Model", "models.yolo.DetectionModel", "models.yolo.Detect"),  # named Model up to 6.1
    "torch.nn.parallel.data_parallel.DataParallel",
}
_YOLOV5_NETWORKS = {"models.yolo.Model", "models.yolo.DetectionModel"}

_TORCH_LAYER = re.compile(r"torch\.nn\.modules\.[a-z_]+\.[A-Z]\w*", re.ASCII)
# Up to 8.0.94, ultralytics.nn.modules was one module.
_ULTRALYTICS_LAYER = re.compile(r"ultralytics\.nn\.modules\.([a-z_]+\.)?([A-Z]\w*|v10Detect)", re.ASCII)
_ULTRALYTICS_NETWORK = re.compile(r"ultralytics\.nn\.tasks\.[A-Z]\w*", re.ASCII)
_ULTRALYTICS_DATA = {
    *("ultralytics.utils.IterableSimpleNamespace", "ultralytics.yolo.utils.IterableSimpleNamespace"),
    "ultralytics.yolo.cfg.UltralyticsCFG",  # the arguments of a training before 8.0.16
    *(f"torch.{name}" for name in ("float16", "float32", "bfloat16", "int64", "CharStorage", "ShortStorage")),
}
# Some releases save the loss with the network. It is left out of the network that is built.
_LOSSES = re.compile(
    r"ultralytics\.((yolo\.|vit\.|models\.)?utils\.(loss|tal|ops)|yolo\.v8\.detect\.train)\.[A-Za-z]\w*", re.ASCII
)
# dill, with which ultralytics 8.0.109 to 8.2 saves when it is installed, writes a type of Python as this call.
DILL = "dill._dill._load_type"
_ULTRALYTICS_NETWORKS = {
    f"ultralytics.nn.tasks.{name}" for name in ("DetectionModel", "RTDETRDetectionModel", "YOLOv10DetectionModel")
}

# yolov9e has 1225 modules; a file of a few bytes could describe 2**40.
MOST_MODULES = 10_000
# Allowance for tensor elements that share storage, as the anchors of YOLOv5 do.
_MOST_REPEATED = 2**26


def check(checkpoint: Checkpoint) -> None:
    """Check that a checkpoint may be loaded.

    Raises:
        WeightsError: If it is not a detection network, or names anything that is not on the allow list.
        Exception: Any exception, if the file is damaged or inconsistent.
    """
    _check_names(checkpoint)
    kind = checkpoint.network.kind
    if kind not in (_YOLOV5_NETWORKS if checkpoint.is_yolov5 else _ULTRALYTICS_NETWORKS):
        what = kind.rpartition(".")[2][:100]
        raise WeightsError(f"{checkpoint.name} contains a {what}, which is not a detection network: {ADVICE}.")
    tensors = [record for record in checkpoint.reading.records if find_tensor(record) is record]
    if sum(map(checkpoint.count, tensors)) > checkpoint.size + _MOST_REPEATED:
        raise ValueError("the tensors have more elements than the file has data")
    read_classes(checkpoint.network)
    modules = list_modules(checkpoint.network)
    if not checkpoint.is_yolov5:
        _check_release(checkpoint, modules)


def _check_names(checkpoint: Checkpoint) -> None:
    name, origin = checkpoint.name, "YOLOv5" if checkpoint.is_yolov5 else "detection"
    permits = _YOLOV5.__contains__ if checkpoint.is_yolov5 else _is_of_ultralytics
    for kind in checkpoint.reading.names:
        if not permits(kind):
            what = f"which is not part of a {origin} network"
            raise WeightsError(f"{name} contains {kind[:100]}, {what}: it was not loaded; {ADVICE}.")
    data = _DATA | _ULTRALYTICS_DATA | {DILL, f"the result of {DILL}"}
    for kind in checkpoint.reading.called:
        if kind not in data:  # instances of module classes are created without a call
            raise WeightsError(f"{name} calls {kind[:100]}, which no checkpoint does: it was not loaded; {ADVICE}.")
    for record in checkpoint.reading.records:
        if record.kind == "builtins.getattr" and record.args[1] not in ("forward", "forward_fuse"):
            raise WeightsError(f"{name} reads an attribute, which no checkpoint does: it was not loaded; {ADVICE}.")
        if record.kind == DILL and record.args != ("set",):
            raise WeightsError(f"{name} contains types that only dill can load: it was not loaded; {ADVICE}.")


def _check_release(checkpoint: Checkpoint, modules: list[Record]) -> None:
    """Check that the installed ultralytics has all layers of a network, and uses all parts of each layer.

    Raises:
        WeightsError: If the weights need another release, or a fork.
    """
    library = load_library()
    for module in modules:
        layer = _ULTRALYTICS_LAYER.fullmatch(module.kind)
        missing = ""
        if layer and layer[2] not in library.layers and layer[2] not in REPLACED:
            missing = layer[2]
        elif layer:
            parts = [part for part, child in children(module).items() if child is not None]
            missing = next((f"{layer[2]}.{part}" for part in parts if not library.has_part(layer[2], part)), "")
        if missing:
            raise WeightsError(f"{checkpoint.name} {explain_release(checkpoint, missing)}.")


def explain_release(checkpoint: Checkpoint, missing: str) -> str:
    """Return that weights need another release of ultralytics, and what to do, as the rest of a sentence."""
    version = checkpoint.content.get("version")
    recorded = f" ({version[:20]})" if isinstance(version, str) and version[:20].isprintable() else ""
    library = f"ultralytics {load_library().version}"
    return (
        f"was saved by another release of ultralytics{recorded} or a fork of it: {missing[:100]} does not exist in "
        f"{library} of this server; train the weights again with {library}"
    )


def _is_of_ultralytics(kind: str) -> bool:
    known = kind in _DATA or kind in _ULTRALYTICS_DATA or kind == DILL
    return known or any(
        pattern.fullmatch(kind) for pattern in (_TORCH_LAYER, _ULTRALYTICS_LAYER, _ULTRALYTICS_NETWORK, _LOSSES)
    )


def list_modules(network: Record) -> list[Record]:
    """Return a network and all modules in it; a shared module is returned for each use.

    Raises:
        ValueError: If there are more than ``MOST_MODULES``.
    """
    found: list[Record] = []
    waiting: list[Any] = [network]
    while waiting:
        module = waiting.pop()
        if not isinstance(module, Record):
            if module is not None:
                raise TypeError("a child of a module is not a module")
            continue
        found.append(module)
        waiting += children(module).values()
        if len(found) + len(waiting) > MOST_MODULES:
            raise ValueError("too many modules")
    return found
