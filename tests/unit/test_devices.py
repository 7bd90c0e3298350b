"""Errors of GPUs, with the messages of CUDA, cuBLAS, cuDNN, torch and OpenVINO.

Sources: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html. After most of its errors, only a new
process can use the GPU: https://github.com/pytorch/pytorch/issues/17425, https://github.com/pytorch/pytorch/issues/2300.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from app import devices
from app.devices import Batches, describe, is_device_lost, is_out_of_memory, shrink_to_memory
from app.errors import OutOfMemory

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("OpenVINO: Failed to allocate 39321600 bytes of memory"),
    RuntimeError("OpenVINO: [CPU] Convolution node with name 'model.0' can't alloc"),
    MemoryError("Unable to allocate 1.0 GiB for an array"),
]
LOST = [
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: the launch timed out and was terminated"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
]
OTHER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: invalid device ordinal"),
    ValueError("CUDA error: device-side assert triggered"),
]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits instead of waiting."""
    waited: list[float] = []
    monkeypatch.setattr("app.devices.time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(devices, "_droppers", [])
    return waited


def name(error: Exception) -> str:
    return describe(error)[:40]


@pytest.mark.parametrize("error", [*FULL, *LOST, *OTHER], ids=name)
def test_errors_of_devices_are_recognised(error: Exception) -> None:
    assert (is_out_of_memory(error), is_device_lost(error)) == (error in FULL, error in LOST)


def test_a_description_is_the_first_line_of_the_message() -> None:
    assert describe(LOST[0]) == "CUDA error: device-side assert triggered"
    assert describe(RuntimeError()) == "RuntimeError"


class Device:
    """A device with room for a number of items; it can get more room after some attempts."""

    def __init__(self, room: int, error: Exception = FULL[0], later: int | None = None, attempts: int = 0) -> None:
        self.room, self.error, self.later, self.attempts = room, error, later, attempts
        self.tried: list[int] = []

    def compute(self, items: Sequence[int]) -> list[int]:
        self.tried.append(len(items))
        if self.later is not None and len(self.tried) > self.attempts:
            self.room = self.later
        if len(items) > self.room:
            raise self.error
        return [10 * item for item in items]


def run(device: Device, batches: Batches, count: int = 10) -> list[int]:
    return [row for _, rows in batches.run(device.compute, range(count)) for row in rows]


@pytest.mark.parametrize("error", FULL, ids=name)
def test_batches_are_halved_until_they_fit(error: Exception) -> None:
    device, batches = Device(2, error), Batches(8, "advice")
    assert run(device, batches) == [10 * item for item in range(10)]
    assert device.tried == [8, 4, 2, 2, 2, 2, 2]
    assert run(device, batches, 3) == [0, 10, 20]
    assert device.tried[7:] == [2, 1]


def test_a_batch_size_grows_again_after_some_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "REGROW_AFTER", 2)
    device = Device(1, later=8, attempts=3)
    run(device, Batches(4, "advice"), 12)
    assert device.tried == [4, 2, 1, 1, 1, 2, 2, 4, 1]


def test_a_batch_of_one_waits_for_memory(waits: list[float]) -> None:
    device = Device(0, later=1, attempts=3)
    assert run(device, Batches(2, "advice"), 1) == [0]
    assert waits == list(devices.WAITS[:3])


def test_a_device_that_stays_full_is_an_error_with_advice(waits: list[float]) -> None:
    with pytest.raises(OutOfMemory, match="or lower MODEL_SIZE"):
        run(Device(0), Batches(2, "lower MODEL_SIZE"))
    assert waits == list(devices.WAITS)


@pytest.mark.parametrize("error", [*LOST, *OTHER], ids=name)
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    device = Device(0, error)
    with pytest.raises(type(error)):
        run(device, Batches(8, "advice"))
    assert device.tried == [8]


def test_cached_networks_are_dropped_before_the_batch_is_halved() -> None:
    device, cached = Device(4), [1, 2]

    @devices.drop_when_memory_is_low
    def drop() -> int:
        dropped, device.room = len(cached), 8
        cached.clear()
        return dropped

    run(device, Batches(8, "advice"), 8)
    assert (device.tried, cached) == ([8, 8], [])


def test_the_tensors_of_a_failed_attempt_are_freed_before_the_next() -> None:
    alive: list[int] = []

    class Tensor:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def compute(size: int) -> int:
        assert not alive
        tensor = Tensor()
        if size > 1:
            raise RuntimeError("CUDA out of memory")
        del tensor
        return size

    assert shrink_to_memory(compute, 4, "advice") == 1
