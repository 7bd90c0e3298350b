"""Errors of GPUs: how to recognise them, and how the work continues.

==============  ==========================================  ====================================================
error           meaning                                     reaction
==============  ==========================================  ====================================================
out of memory   often temporary: other programs share the   :func:`shrink_to_memory` frees memory, makes the
                GPU                                         batches smaller, and waits
device lost     every later operation of the process on     the child process of the worker is replaced
                the GPU fails                               (``workers/failures.py``)
==============  ==========================================  ====================================================

Torch raises both as ``RuntimeError`` and its subclasses, so the messages decide. The messages are those of
https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html, cuBLAS, cuDNN, the allocators of torch, and
OpenVINO.
"""

import gc
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from app.errors import OutOfMemory

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds between two attempts, when even the smallest batch does not fit into the memory.
WAITS = (5.0, 15.0, 30.0)
# Number of batches after which a reduced batch size doubles again.
REGROW_AFTER = 50

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't alloc|failed to allocate|bad_alloc|(CUBLAS|CUDNN|CUSOLVER)_STATUS_ALLOC_FAILED|"
    r"unable to find an engine",
    re.IGNORECASE,
)
_DEVICE_LOST = re.compile(
    r"(CUDA|HIP|cuDNN|CUBLAS|CUDA driver) error|(CUBLAS|CUDNN|CUSOLVER)_STATUS_|NVML_SUCCESS|device-side assert|"
    r"unspecified launch failure|illegal memory access|GPU is lost",
    re.IGNORECASE,
)
# Words of the errors of a wrong installation or setting, which a new process does not repair, and what to do.
MISCONFIGURED = {
    "no kernel image": "The PyTorch of this server does not support its GPU: "
    "set DEVICE=cpu or use a GPU that docs/install.md names, restart the worker, then retry the job.",
    "invalid device ordinal": "The setting DEVICE names a GPU that this server does not have: "
    "correct it, restart the worker, then retry the job.",
}

_droppers: list[Callable[[], int]] = []


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the device, or of the machine, is full."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
    )


def is_device_lost(error: BaseException) -> bool:
    """Return whether after this error every later operation of the process on the GPU fails."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    text = str(error)
    return bool(_DEVICE_LOST.search(text)) and not any(words in text for words in MISCONFIGURED)


def describe(error: BaseException) -> str:
    """Return the first line of an error's message, shortened."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def drop_when_memory_is_low(drop: Callable[[], int]) -> Callable[[], int]:
    """Register a function that empties a cache of loaded networks and returns their number.

    The running job has its own reference to its network, so the network stays loaded until the job ends.
    """
    _droppers.append(drop)
    return drop


def free_memory() -> bool:
    """Release unused memory of the device; return whether cached networks were dropped."""
    dropped = [drop() for drop in _droppers]
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return any(dropped)


def shrink_to_memory(compute: Callable[[int], Result], size: int, advice: str) -> Result:
    """Return ``compute(size)``, with a smaller size if the device runs out of memory.

    After an error, cached networks are dropped first. Then the size is halved. At size 1, the function waits for other
    programs to release memory.

    Args:
        compute: Function whose need of memory grows with its argument.
        size: Largest size.
        advice: End of the error message: what the operator can change.

    Raises:
        OutOfMemory: If size 1 does not fit after the last wait.
    """
    waits = iter(WAITS)
    while True:
        try:
            return compute(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning("The device is out of memory at size %d: %s", size, describe(error))
        # Not in the except clause: the traceback of the error refers to tensors that must be freed.
        if free_memory():
            continue
        if size > 1:
            size //= 2
            continue
        seconds = next(waits, None)
        if seconds is None:
            raise OutOfMemory(
                "The memory of the device is full, even for a batch of one: "
                f"stop other programs that use the device, or {advice}."
            )
        time.sleep(seconds)


class Batches:
    """Splits items into batches, and makes the batches smaller while the device has too little memory.

    Args:
        size: Number of items of a batch.
        advice: End of the error message: what the operator can change.
    """

    def __init__(self, size: int, advice: str) -> None:
        self._largest, self._advice = size, advice
        self._size, self._completed = size, 0

    def run(
        self, compute: Callable[[Sequence[Item]], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        """Yield each batch with its result, in the order of the items.

        Raises:
            OutOfMemory: If a batch of one item does not fit into the memory.
        """
        while items:
            size = min(self._size, len(items))
            batch, result = shrink_to_memory(partial(self._compute, compute, items), size, self._advice)
            self._adapt(size, len(batch))
            yield batch, result
            items = items[len(batch) :]

    @staticmethod
    def _compute(
        compute: Callable[[Sequence[Item]], Result], items: Sequence[Item], size: int
    ) -> tuple[Sequence[Item], Result]:
        return items[:size], compute(items[:size])

    def _adapt(self, tried: int, fitting: int) -> None:
        """Keep a reduced size for some batches, because another program probably still uses the memory."""
        self._completed += 1
        if fitting < tried:
            self._size, self._completed = fitting, 0
        elif self._completed >= REGROW_AFTER:
            self._size, self._completed = min(2 * self._size, self._largest), 0
