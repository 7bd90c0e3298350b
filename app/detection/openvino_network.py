"""A network of torch that OpenVINO runs on the CPU.

OpenVINO computes a convolution with the activation after it in one step. The gain is measured in ``bench/README.md``.
"""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from app.detection.streams import count_cores


class OpenVinoNetwork:
    """A compiled network. Threads may share it.

    Args:
        network: Network in float32 for inference, which takes and returns one tensor.
        example: An input; other inputs may differ from it in the dimensions of ``varying``.
        varying: Dimensions of the input that vary.
        dtype: Number format: ``torch.float32`` or ``torch.bfloat16``.
        streams: Number of threads that compute at the same time.

    Attributes:
        dtype: Number format.

    Raises:
        RuntimeError: If OpenVINO does not support the network.
    """

    def __init__(
        self, network: nn.Module, example: torch.Tensor, varying: tuple[int, ...], dtype: torch.dtype, streams: int
    ) -> None:
        self._model = _convert(network, example, varying)
        self._streams = streams
        self._compile(dtype)

    def __call__(self, batch: NDArray[Any]) -> torch.Tensor:
        request = self._requests.get()
        try:
            with _explain():
                # `infer` would return the output of the last batch when there is too little memory for this one.
                request.start_async([batch], share_inputs=True)
                request.wait()
                return torch.from_numpy(request.get_output_tensor().data.copy())
        finally:
            self._requests.put(request)

    def widen(self) -> None:
        """Compute in float32 from now on. No other thread may use the network meanwhile."""
        if self.dtype is not torch.float32:
            self._compile(torch.float32)

    def _compile(self, dtype: torch.dtype) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype is torch.bfloat16 else "f32",
            "NUM_STREAMS": self._streams,
            "INFERENCE_NUM_THREADS": max(self._streams, count_cores()),
            "ENABLE_CPU_PINNING": False,  # other processes use the same cores
            # Prepared operations that are kept for the next batch of the same shape. The default, 5000, takes 1 GB
            # after 140 shapes, instead of 0.3 GB.
            "CPU_RUNTIME_CACHE_CAPACITY": 1000,
        }
        with _explain():
            compiled = _import_openvino().Core().compile_model(self._model, "CPU", settings)
        self.dtype = dtype
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._streams):
            self._requests.put(compiled.create_infer_request())


def _convert(network: nn.Module, example: torch.Tensor, varying: tuple[int, ...]) -> Any:
    """Convert a network to OpenVINO's graph.

    ``openvino.convert_model`` would take several times as long.
    """
    shape = [-1 if place in varying else length for place, length in enumerate(example.shape)]
    with warnings.catch_warnings(action="ignore"), torch.no_grad(), _explain():
        openvino = _import_openvino()
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        traced = torch.jit.trace(network, example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=example)  # must live until the end of the conversion
        loader = FrontEndManager().load_by_framework("pytorch")
        model = loader.convert(loader.load(decoder))
        model.reshape({model.inputs[0]: openvino.PartialShape(shape)})
    return model


@contextmanager
def _explain() -> Iterator[None]:
    """Convert every error to a ``RuntimeError`` with its reason: the last line of a message of OpenVINO."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RuntimeError(f"OpenVINO: {lines[-1]}") from error


def _import_openvino() -> Any:
    # OpenVINO reports its import to its vendor, unless this package cannot be imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return importlib.import_module("openvino")
