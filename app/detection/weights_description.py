"""Metadata of a weights file, read without torch and without running the file."""

import re
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from app.detection.weights_files.checkpoint import (
    LARGEST,
    Checkpoint,
    children,
    find_tensor,
    open_checkpoint,
    read_classes,
)
from app.detection.weights_files.permitted import check, list_modules
from app.detection.weights_files.pickles import Record
from app.errors import WeightsError

if TYPE_CHECKING:
    from app.detection.weights import Weights

# YOLOv5 sizes by their channel multiplier (``width_multiple`` in models/yolov5?.yaml).
_YOLOV5_SIZES = {0.25: "n", 0.5: "s", 0.75: "m", 1.0: "l", 1.25: "x"}
# Range of plausible input sizes, as that of MODEL_SIZE, and the size for weights that record none.
_INPUT_SIZES = range(32, 4097)
DEFAULT_SIZE = 640
_LONGEST_CARD = 200_000
_MOST_REMEMBERED = 256


@dataclass(frozen=True)
class Description:
    """Description of a weights file.

    Attributes:
        size: File size in bytes.
        sha256: SHA-256 of the file, in hexadecimal; None if it cannot be read.
        error: Reason why the file cannot be used, else "". With an error, the following attributes are empty.
        architecture: Name of the architecture, as far as the file records it: ``YOLOv5n6``, ``YOLO11s``, ``RT-DETR-l``.
        parameters: Number of parameters of the network.
        classes: Class names by class id.
        input_size: Longer side of the network's input in training, in pixels; None if the file does not record it.
    """

    size: int
    sha256: str | None = None
    error: str = ""
    architecture: str | None = None
    parameters: int | None = None
    classes: dict[int, str] = field(default_factory=dict)
    input_size: int | None = None

    def choose_size(self, wanted: int | None = None) -> int:
        """Return the longer side of the network's input: the wanted one (``MODEL_SIZE``), or that in training."""
        return wanted or self.input_size or DEFAULT_SIZE


class Descriptions:
    """Cache of descriptions, with one entry for each version of a weights file."""

    def __init__(self) -> None:
        self._made: dict[tuple[Path, float, int], Description] = {}
        self._lock = Lock()

    def describe(self, weights: "Weights") -> Description:
        """Return the description of a weights file; its ``error`` is set if the file cannot be used."""
        key = (weights.path, weights.changed, weights.size)
        with self._lock:  # concurrent requests must not read the same large file
            if key not in self._made:
                while len(self._made) >= _MOST_REMEMBERED:
                    del self._made[next(iter(self._made))]
                self._made[key] = describe(weights)
            return self._made[key]


def describe(weights: "Weights") -> Description:
    """Read the description of a weights file."""
    digest = None
    try:
        if weights.size <= LARGEST:
            digest = weights.digest()
        with open_checkpoint(weights.path) as checkpoint:
            check(checkpoint)
            return Description(weights.size, digest, "", *_describe(checkpoint))
    except WeightsError as error:
        return Description(weights.size, digest, error.message)


def load_card(path: Path) -> str | None:
    """Return the model card of a weights file, ``<stem>.md`` in the same folder; None if there is none."""
    card = path.with_suffix(".md")
    try:
        if not card.is_file():
            return None
        with card.open("rb") as file:
            return file.read(_LONGEST_CARD).decode(errors="replace")
    except OSError:
        return None


def _describe(checkpoint: Checkpoint) -> tuple[str, int, dict[int, str], int | None]:
    """Return architecture, parameters, classes and input size."""
    network = checkpoint.network
    name = _name_yolov5(network) if checkpoint.is_yolov5 else _name_ultralytics(network)
    return name, _count_parameters(checkpoint), read_classes(network), _read_input_size(checkpoint)


def _count_parameters(checkpoint: Checkpoint) -> int:
    """Return the number of parameters of a network; shared parameters count once."""
    parameters = {
        id(parameter): parameter
        for module in list_modules(checkpoint.network)
        for parameter in module.state["_parameters"].values()
    }
    tensors = map(find_tensor, parameters.values())
    return sum(checkpoint.count(tensor) for tensor in tensors if tensor)


def _name_yolov5(network: Record) -> str:
    """Return the name of a YOLOv5 network with its size; "6" is added for a head of four levels (P6)."""
    layers = list(children(children(network)["model"]).values())
    levels = len(children(children(layers[-1])["m"]))
    width = _read_fields(network.state.get("yaml")).get("width_multiple")
    size = _YOLOV5_SIZES.get(width, "") if isinstance(width, (int, float)) else ""
    return f"YOLOv5{size}{'6' if levels == 4 else ''}"


def _name_ultralytics(network: Record) -> str:
    """Return the name of an ultralytics network, from the name of its YAML file."""
    layout = _read_fields(network.state.get("yaml"))
    file, scale = (value if isinstance(value := layout.get(key), str) else "" for key in ("yaml_file", "scale"))
    name = PureWindowsPath(file).stem[:100]
    if re.fullmatch(r"yolov?\d+", name):
        name += scale[:1]
    if re.fullmatch(r"yolov5[nsmlx](6|-p6)?", name):
        return f"YOLOv5{name[6]}{'6' if '6' in name else ''}u"  # YOLOv5 backbone and neck with an anchor-free head
    if name.startswith("rtdetr"):
        return f"RT-DETR{name.removeprefix('rtdetr')}"
    if name.startswith("yolo"):
        return f"YOLO{name.removeprefix('yolo')}"
    return name or ("RT-DETR" if network.kind.endswith(".RTDETRDetectionModel") else "YOLO")


def _read_input_size(checkpoint: Checkpoint) -> int | None:
    """Return the longer side of the input in training.

    Ultralytics records ``imgsz`` in ``train_args`` and in the ``args`` of the network, YOLOv5 since 7.0 in ``opt``. The
    value is a number, a number as text, or a list.
    """
    content, network = checkpoint.content, checkpoint.network.state
    records = [content.get(key) for key in ("train_args", "opt", "hyp")] + [network.get(key) for key in ("args", "hyp")]
    for fields in map(_read_fields, records):
        recorded = fields.get("imgsz", fields.get("img_size"))
        sides = recorded if isinstance(recorded, (list, tuple)) else [recorded]
        if sizes := [size for side in sides if (size := _read_side(side)) in _INPUT_SIZES]:
            return max(sizes)
    return None


def _read_side(value: Any) -> int:
    """Return a number of pixels; 0 for any other value."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,6}", value.strip()):
        return int(value)
    return value if type(value) is int else 0


def _read_fields(value: Any) -> dict[Any, Any]:
    """Return a dictionary, or the attributes of a namespace record; an empty dictionary for any other value."""
    fields = value.state if isinstance(value, Record) else value
    return fields if isinstance(fields, dict) else {}
