"""Networks from checkpoints of the ultralytics/yolov5 repository, built without running the files.

Such a checkpoint is a pickle of the network's Python objects. Nothing in it is imported or called. The network is
rebuilt from the parsed records (``checkpoint.py``):

- a layer becomes the torch layer with the same arguments;
- a block becomes ultralytics' class with the same forward pass, with the children from the file;
- the head becomes ``AnchorDetect``.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from app.detection.weights_files.checkpoint import Checkpoint, children, read_classes
from app.detection.weights_files.networks import read_tensor
from app.detection.weights_files.permitted import YOLOV5_BLOCKS, YOLOV5_LAYERS
from app.detection.weights_files.pickles import Record

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel


class AnchorDetect(nn.Module):
    """The anchor head of YOLOv5 (``Detect`` in models/yolo.py), with the output format of ultralytics' heads.

    YOLOv5 drops boxes whose objectness is below the threshold, then multiplies the class scores by objectness and drops
    again (``non_max_suppression`` in utils/general.py). A product is never above its factors, so one multiplication
    here and one threshold keep the same boxes.

    Args:
        convolutions: Output convolution of each level.
        anchors: ``(levels, anchors, 2)`` widths and heights in input pixels.
        strides: Stride of each level, in input pixels per cell.
    """

    anchors: torch.Tensor

    def __init__(self, convolutions: Iterable[nn.Module], anchors: torch.Tensor, strides: Sequence[float]) -> None:
        super().__init__()
        self.m = nn.ModuleList(convolutions)
        self.strides = strides
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return ``(b, 4 + classes, n)``: centre and size in input pixels, then the score of each class."""
        levels = zip(self.m, features, self.anchors, self.strides, strict=True)
        return torch.cat([_decode(layer(feature), anchors, stride) for layer, feature, anchors, stride in levels], 2)


def _decode(raw: torch.Tensor, anchors: torch.Tensor, stride: float) -> torch.Tensor:
    """Convert the output ``(b, anchors * (5 + classes), h, w)`` of one level to boxes and scores, in float32."""
    batch, _, height, width = raw.shape
    # Half precision would round a coordinate near 1000 pixels to half a pixel.
    raw = raw.float().view(batch, len(anchors), -1, height, width).sigmoid()
    centre, extent, objectness, classes = raw.split((2, 2, 1, raw.shape[2] - 5), 2)
    rows, columns = (torch.arange(length, device=raw.device) for length in (height, width))
    centre = (centre * 2 - 0.5 + torch.stack(torch.meshgrid(columns, rows, indexing="xy"))) * stride
    extent = (extent * 2) ** 2 * anchors.float()[:, :, None, None]
    return torch.cat((centre, extent, objectness * classes), 2).transpose(1, 2).flatten(2)


class _Builder:
    """Builds a network from the records of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def build_network(self, record: Record) -> "BaseModel":
        from ultralytics.nn.tasks import BaseModel

        records = list(children(children(record)["model"]).values())
        head = self._build_head(records[-1])
        network: Any = BaseModel()
        network.model = nn.Sequential(*map(self._build, records[:-1]), head)
        network.save = _connect(network.model, [record.state["f"] for record in records])
        network.stride = torch.tensor(head.strides)
        network.names = read_classes(record)
        return network.eval()

    def _build(self, record: Record) -> nn.Module:
        return self._build_layer(record) if record.kind in YOLOV5_LAYERS else self._build_block(record)

    def _build_layer(self, record: Record) -> nn.Module:
        arguments = {name: record.state[name] for name in YOLOV5_LAYERS[record.kind].split()}
        tensors = {**record.state["_parameters"], **record.state["_buffers"]}
        if record.kind.endswith(".Conv2d"):
            arguments["bias"] = tensors["bias"] is not None
        # On the meta device, layers allocate no memory: the sizes in the file are untrusted until the tensors fit them.
        with torch.device("meta"):
            layer = getattr(nn, record.kind.rpartition(".")[2])(**arguments)
        layer.load_state_dict({name: self._tensor(tensor) for name, tensor in tensors.items() if tensor}, assign=True)
        return layer

    def _build_block(self, record: Record) -> nn.Module:
        from ultralytics.nn import modules

        package, _, name = record.kind.rpartition(".")
        kind = getattr(modules if package == "models.common" else nn, name)
        # The constructors have changed since YOLOv5; for example, SPPF has lost an activation.
        block = kind.__new__(kind)
        nn.Module.__init__(block)
        for attribute in YOLOV5_BLOCKS[record.kind].split():
            setattr(block, attribute, record.state[attribute])
        for key, child in children(record).items():
            block.add_module(key, self._build(child))
        if isinstance(block, modules.Conv) and not hasattr(block, "bn"):
            block.forward = block.forward_fuse  # type: ignore[method-assign]
        return block

    def _build_head(self, record: Record) -> AnchorDetect:
        strides = self._tensor(record.state["stride"])
        anchors = self._tensor(record.state["_buffers"]["anchors"]) * strides[:, None, None]  # saved in cells
        return AnchorDetect(self._build_block(children(record)["m"]).children(), anchors, strides.tolist())

    def _tensor(self, record: Any) -> torch.Tensor:
        return read_tensor(self._checkpoint, record)


def _connect(layers: Iterable[Any], sources: Sequence[int | list[int]]) -> list[int]:
    """Set the number and the input layers of each layer; return the layers whose output is needed later."""
    needed = set()
    for number, (layer, source) in enumerate(zip(layers, sources, strict=True)):
        layer.i, layer.f = number, source
        before = [index for index in ([source] if isinstance(source, int) else source) if index != -1]
        if not all(-number <= index < number for index in before):
            raise ValueError(f"layer {number} takes its input from {source}")
        needed |= {index % number for index in before}
    return sorted(needed)


def build_yolov5(checkpoint: Checkpoint) -> "BaseModel":
    """Return the network of a YOLOv5 checkpoint in float32.

    Args:
        checkpoint: YOLOv5 checkpoint that ``permitted`` has accepted.

    Raises:
        Exception: Any exception, if the file is damaged or inconsistent.
    """
    return _Builder(checkpoint).build_network(checkpoint.network)
