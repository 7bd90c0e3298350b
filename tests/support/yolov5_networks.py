"""Untrained networks whose pickles equal those of train.py in the YOLOv5 repository.

The classes are written for the tests. They have the names and attributes of the repository's classes, and an
independent forward pass to compare with.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from torch import nn

ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
ANCHORS_P6 = [[19, 27, 44, 40, 38, 94], [96, 68, 86, 152, 180, 137], [140, 301, 303, 264, 238, 542]]
ANCHORS_P6 += [[436, 615, 739, 380, 925, 792]]

# Depth and width multiples of the five sizes.
SIZES = {"n": (0.33, 0.25), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}


class Conv(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, size: int = 1, stride: int = 1, padding: int | None = None, groups: int = 1
    ) -> None:
        super().__init__()
        padding = size // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        nn.init.uniform_(self.bn.running_mean, -0.5, 0.5)
        nn.init.uniform_(self.bn.running_var, 0.1, 0.5)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(x)))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(x))


class Focus(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int = 1) -> None:
        super().__init__()
        self.conv = Conv(inputs * 4, outputs, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([x[..., row::2, column::2] for column, row in product((0, 1), repeat=2)], 1))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(inputs, outputs), Conv(outputs, outputs, 3)
        self.add = shortcut and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv2(self.cv1(x)) + (x if self.add else 0)


class C3(nn.Module):
    def __init__(self, inputs: int, outputs: int, repeats: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1, self.cv2, self.cv3 = Conv(inputs, half), Conv(inputs, half), Conv(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, half, shortcut) for _ in range(repeats)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(inputs, inputs // 2), Conv(inputs * 2, outputs)
        self.m = nn.MaxPool2d(size, 1, size // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.cv1(x)
        second = self.m(first)
        third = self.m(second)
        return self.cv2(torch.cat((first, second, third, self.m(third)), 1))


class SPP(nn.Module):
    def __init__(self, inputs: int, outputs: int, sizes: list[int]) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(inputs, inputs // 2), Conv(inputs // 2 * (len(sizes) + 1), outputs)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class Concat(nn.Module):
    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(x, self.d)


class Detect(nn.Module):
    def __init__(self, classes: int, anchors: list[list[int]], inputs: list[int], strides: list[int]) -> None:
        super().__init__()
        self.nc, self.no, self.nl, self.na = classes, classes + 5, len(anchors), len(anchors[0]) // 2
        self.stride = torch.tensor(strides, dtype=torch.float32)
        pixels = torch.tensor(anchors, dtype=torch.float32).view(self.nl, -1, 2)
        self.register_buffer("anchors", pixels / self.stride[:, None, None])
        self.grid = [torch.empty(0)] * self.nl
        self.anchor_grid = [torch.empty(0)] * self.nl
        self.m = nn.ModuleList(nn.Conv2d(channels, self.no * self.na, 1) for channels in inputs)

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        """Return ``(b, n, 5 + classes)``, by a plain loop over anchors and cells."""
        found = []
        for layer, feature, anchors, stride in zip(self.m, x, self.anchors, self.stride, strict=True):
            answer = layer(feature).sigmoid()
            for anchor, row, column in product(range(self.na), *map(range, answer.shape[2:])):
                box = answer[:, anchor * self.no : (anchor + 1) * self.no, row, column].clone()
                box[:, :2] = (box[:, :2] * 2 - 0.5 + torch.tensor([column, row])) * stride
                box[:, 2:4] = (box[:, 2:4] * 2) ** 2 * anchors[anchor] * stride
                found.append(box)
        return torch.stack(found, 1)


class DetectionModel(nn.Module):
    """A network built from an architecture in ultralytics' ``cfg/models/v5``, which equals that of the repository.

    Args:
        rows: ``from, number, kind, arguments`` of each layer.
        depth, width: Multiples of the numbers of layers and of channels.
        names: Class names.
        anchors: Widths and heights of the anchors of each level, in pixels.
    """

    def __init__(
        self, rows: list[Any], depth: float, width: float, names: list[str] | dict[int, str], anchors: list[list[int]]
    ) -> None:
        super().__init__()
        layers: list[Any] = []
        channels = [3]
        for number, (source, repeats, kind, arguments) in enumerate(rows):
            inputs = [channels[index + 1 if index >= 0 else index] for index in _listed(source)]
            outputs = int(-(-arguments[0] * width // 8) * 8) if kind in CHANGING else sum(inputs)
            if kind in CHANGING:
                count = [max(round(repeats * depth), 1)] if kind == "C3" else []
                layer = CHANGING[kind](inputs[0], outputs, *count, *arguments[1:])
            elif kind == "Detect":
                layer = Detect(len(names), anchors, inputs, [8 * 2**level for level in range(len(anchors))])
            else:
                layer = Concat(1) if kind == "Concat" else nn.Upsample(None, 2, "nearest")
            layer.i, layer.f, layer.type = number, source, f"models.common.{kind}"
            layers.append(layer)
            channels.append(outputs)
        self.model = nn.Sequential(*layers)
        self.save = sorted({index for _, layer in enumerate(layers) for index in _listed(layer.f) if index != -1})
        self.names, self.yaml, self.stride, self.inplace = names, {"nc": len(names)}, layers[-1].stride, True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: list[torch.Tensor] = []
        for layer in self.model:
            inputs = [outputs[index] if outputs else x for index in _listed(layer.f)]
            outputs.append(layer(inputs if isinstance(layer.f, list) else inputs[0]))
        return outputs[-1]


class Model(DetectionModel):
    """The name of the network class up to 6.1."""


class SegmentationModel(DetectionModel):
    """A network for another task."""


CHANGING = {kind.__name__: kind for kind in (Conv, Focus, C3, SPPF, SPP)}
MODULES = {
    "models.common": (Conv, Focus, Bottleneck, C3, SPPF, SPP, Concat),
    "models.yolo": (Detect, DetectionModel, Model, SegmentationModel),
}


def _listed(source: int | list[int]) -> list[int]:
    return [source] if isinstance(source, int) else source


def make_network(
    depth: float = 0.33,
    width: float = 0.125,
    *,
    p6: bool = False,
    names: list[str] | dict[int, str] | None = None,
    kind: type[DetectionModel] = DetectionModel,
    replace: dict[int, list[Any]] | None = None,
) -> DetectionModel:
    """Return an untrained network whose parameters are exact in half precision."""
    import ultralytics

    layout = Path(ultralytics.__file__).parent / "cfg" / "models" / "v5" / ("yolov5-p6.yaml" if p6 else "yolov5.yaml")
    config = yaml.safe_load(layout.read_text())
    rows = config["backbone"] + config["head"]
    for number, row in (replace or {}).items():
        rows[number] = row
    torch.manual_seed(0)
    network = kind(rows, depth, width, names or ["diagram", "initial"], ANCHORS_P6 if p6 else ANCHORS)
    return network.half().float().eval().requires_grad_(False)


def fuse(network: DetectionModel) -> DetectionModel:
    """Fuse batch normalisation into the convolutions as the repository does, with ``forward_fuse`` as forward."""
    from torch.nn.utils import fuse_conv_bn_eval

    for layer in network.modules():
        if isinstance(layer, Conv):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.bn)
            del layer.bn
            layer.forward = layer.forward_fuse  # type: ignore[method-assign]
    return network


@contextmanager
def original_names() -> Iterator[None]:
    """Pickle these classes under the module names of the repository; these modules do not exist during loading."""
    for place, classes in MODULES.items():
        sys.modules[place] = ModuleType(place)
        for kind in classes:
            kind.__module__ = place
            setattr(sys.modules[place], kind.__name__, kind)
    try:
        yield
    finally:
        for place in MODULES:
            del sys.modules[place]


def save(path: Path, **checkpoint: Any) -> Path:
    """Save a checkpoint with the entries that train.py saves; arguments add entries or replace them."""
    content = {"epoch": -1, "best_fitness": None, "model": None, "ema": None, "updates": None, "optimizer": None}
    with original_names():
        torch.save({**content, **checkpoint}, path)
    return path
