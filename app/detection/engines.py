"""Engines: a detection network in the library that runs it.

==========  ========================================================
torch       every network, on a GPU and on a CPU
OpenVINO    on a CPU, every YOLO whose boxes need NMS
==========  ========================================================
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.detection.openvino_network import OpenVinoNetwork
from app.detection.precision import Library, Runtime, copy_sharing_weights, decode_in_float32
from app.detection.voting import needs_nms
from app.detection.weights_files.library import load_library
from app.devices import shrink_to_memory
from app.errors import WeightsError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

# For the operator of a server whose memory does not suffice.
ADVICE = "lower MODEL_SIZE, or choose smaller weights"
# Side of the page with which a network is converted; the graph takes pages of any size.
_EXAMPLE = 64


class Engine(Protocol):
    """A network that detects on batches of pages. Each engine is used by one thread at a time."""

    def __call__(self, batch: NDArray[np.uint8]) -> torch.Tensor:
        """Return the output of the network for RGB images ``(n, height, width, 3)``, in pixels of the input."""

    def widen(self) -> None:
        """Compute in float32 from now on."""


class TorchEngine:
    """A network that torch runs.

    Args:
        network: Network in inference mode, on the device and in the number format.
        device: Device of the network.
        dtype: Number format of the network.
    """

    def __init__(self, network: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network if dtype is torch.float32 else decode_in_float32(network)
        self._device, self._dtype = device, dtype

    def __call__(self, batch: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)
        with blame_weights():
            output = self.network(pixels.to(self._dtype, memory_format=torch.channels_last).div_(255))
        return cast(torch.Tensor, output[0] if isinstance(output, (list, tuple)) else output)

    def widen(self) -> None:
        self.network.float()
        self._dtype = torch.float32


class _PixelInput(nn.Module):
    """A YOLO that takes pixels ``(n, height, width, 3)`` uint8 of RGB images, and returns its decoded boxes."""

    def __init__(self, network: Any) -> None:
        from ultralytics.nn.modules.block import DFL

        super().__init__()
        self.network = network
        head = network.model[-1]
        head.export, head.dynamic = True, True  # no second output; anchors for each shape of the input
        distances = getattr(head, "dfl", None)  # the head of an original YOLOv5 has none
        if isinstance(distances, DFL):
            head.dfl = _Distances(distances.c1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.network(pixels.permute(0, 3, 1, 2).float() / 255))


class _Distances(nn.Module):
    """The expected distances of a head, as ultralytics' ``DFL`` computes them with a convolution.

    OpenVINO computes all steps up to the last convolution in the reduced format, and the steps after it in float32.
    """

    steps: torch.Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("steps", torch.arange(bins, dtype=torch.float32).view(1, 1, bins, 1))

    def forward(self, distributions: torch.Tensor) -> torch.Tensor:
        images, _, positions = distributions.shape
        return (distributions.view(images, 4, self.bins, positions).softmax(2) * self.steps).sum(2)


def load_engines(network: "BaseModel", device: torch.device, runtime: Runtime, streams: int) -> list[Engine]:
    """Return an engine for each stream. They share the parameters of the network.

    Args:
        network: Detection network of ultralytics in float32; it must not be used elsewhere.
        device: Device of the engines.
        runtime: Library and number format.
        streams: Number of engines.

    Raises:
        WeightsError: If the network does not fit the installed ultralytics.
        RuntimeError: If the library of the runtime does not support the network.
    """
    with blame_weights():
        fused: Any = network.fuse(verbose=False)
    if runtime.library is Library.OPENVINO:
        if not needs_nms(fused):
            raise RuntimeError("OpenVINO is only used for a YOLO whose boxes need NMS")
        pixels = torch.zeros((1, _EXAMPLE, _EXAMPLE, 3), dtype=torch.uint8)
        compiled = shrink_to_memory(
            lambda _: OpenVinoNetwork(_PixelInput(fused), pixels, (0, 1, 2), runtime.dtype, streams), 1, ADVICE
        )
        return [compiled] * streams
    moved: Any = shrink_to_memory(
        lambda _: fused.to(device, runtime.dtype, memory_format=torch.channels_last), 1, ADVICE
    )
    networks = [moved, *(copy_sharing_weights(moved) for _ in range(1, streams))]
    return [TorchEngine(each, device, runtime.dtype) for each in networks]


@contextmanager
def blame_weights() -> Iterator[None]:
    """Convert errors of a network whose attributes are not those that the installed ultralytics uses."""
    try:
        yield
    except (AttributeError, TypeError, LookupError, AssertionError) as error:
        library, reason = f"ultralytics {load_library().version}", " ".join(str(error).split())[:200]
        raise WeightsError(
            f"The model does not run with {library} of this server, so another release or a fork saved it ({reason}): "
            f"train it again with {library}."
        ) from error
