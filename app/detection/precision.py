"""Number formats of networks, and the choice of the fastest runtime for a device.

==============  ====================================================================================
``auto``        float16 on a GPU, bfloat16 on a CPU with AVX512-BF16 or AMX, float32 on other CPUs;
                on a CPU, OpenVINO runs the network; a trial precedes each choice (``loading.py``)
other values    the named format with torch, without a trial
==============  ====================================================================================

YOLO networks decode their boxes in float32 in any case: in bfloat16, coordinates near 640 have steps of 4 pixels. In
training, the parameters and the loss stay in float32 as well (:func:`compute_in_bfloat16`).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

CPU_INFO = Path("/proc/cpuinfo")


class Precision(StrEnum):
    """Number format of the network: ``auto`` or one format."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Library(StrEnum):
    """Library that runs a network."""

    TORCH = "torch"
    OPENVINO = "OpenVINO"


@dataclass(frozen=True)
class Runtime:
    """The library that runs a network, and its number format."""

    library: Library
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.library} in {str(self.dtype).removeprefix('torch.')}"


# The runtime with which trials compare the others.
EXACT = Runtime(Library.TORCH, torch.float32)


def list_runtimes(precision: Precision, device: torch.device) -> list[Runtime]:
    """Return the runtimes that a device offers, the fastest first. The last one needs no trial.

    The order is that of the measurements in ``bench/README.md``.
    """
    chosen = choose_dtype(precision, device)
    if precision is not Precision.AUTO:
        return [Runtime(Library.TORCH, chosen)]
    runtimes = [Runtime(Library.TORCH, chosen)]
    if device.type == "cpu" and find_spec("openvino"):
        runtimes = [Runtime(Library.OPENVINO, chosen), *runtimes, Runtime(Library.OPENVINO, torch.float32)]
    # On a CPU without bfloat16, the chosen format is float32, and some runtimes are the same.
    return list(dict.fromkeys([*runtimes, EXACT]))


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the requested format, or for ``auto`` the fastest format of a device."""
    if precision is not Precision.AUTO:
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[precision]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and computes_bfloat16(CPU_INFO) else torch.float32


@cache
def computes_bfloat16(cpu_info: Path) -> bool:
    """Return whether the CPU has instructions for bfloat16. Without them, bfloat16 is slower than float32."""
    try:
        flags = next(line for line in cpu_info.read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return False
    return bool({"avx512_bf16", "amx_bf16"} & {*flags})


def copy_sharing_weights(network: nn.Module) -> nn.Module:
    """Return a copy with its own state but the same parameters and buffers.

    Two threads must not use one network, because the head of ultralytics stores the anchors of its last input shape.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return deepcopy(network, shared)


def decode_in_float32(network: nn.Module) -> nn.Module:
    """Make a YOLO network in a reduced format decode its boxes in float32; return the network."""
    head = getattr(network, "model", [None])[-1]
    if hasattr(head, "forward_head"):
        if isinstance(head.dfl, nn.Module):
            head.dfl.float()
        head.forward_head = _widen_output(head.forward_head)
    return network


def compute_in_bfloat16(network: nn.Module) -> nn.Module:
    """Make a YOLO network with float32 parameters compute in bfloat16 on the CPU; return the network.

    Its outputs are float32: the raw ones, from which the loss is computed, and the decoded boxes.
    """
    body: Any = decode_in_float32(network)
    head = body.model[-1]
    head._inference = torch.autocast("cpu", enabled=False)(head._inference)
    body.predict = torch.autocast("cpu", torch.bfloat16)(body.predict)
    return network


def _widen_output(forward_head: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def forward(*arguments: Any, **options: Any) -> dict[str, Any]:
        raw = forward_head(*arguments, **options)
        if not raw:  # the head has no such branch
            return raw
        # The anchors need only the shape and the format of the feature maps.
        maps = [each.new_empty(each.shape, dtype=torch.float32) for each in raw["feats"]]
        return raw | {"boxes": raw["boxes"].float(), "scores": raw["scores"].float(), "feats": maps}

    return forward
