"""The results of trials of number formats, in a file. A trial compares a reduced format with float32.

A trial runs once for each weights file, processor and version of torch.
"""

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from app.storage import write_atomic

OUT_OF_MEMORY = "the trial ran out of memory"


class FormatTrials:
    """The results of trials.

    Args:
        path: JSON file; None to store nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def find_or_run(self, key: str, run: Callable[[], str]) -> str:
        """Return how a reduced format differs from float32, or "".

        Args:
            key: Key of the trial, see :func:`build_key`.
            run: Function that runs the trial; called only if there is no result.
        """
        known = self._load().get(key)
        if isinstance(known, str):
            return known
        difference = run()
        if difference != OUT_OF_MEMORY:  # temporary, so the next load repeats the trial
            self._record(key, difference)
        return difference

    def _record(self, key: str, difference: str) -> None:
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(self._load() | {key: difference}, indent=1).encode())

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_bytes()) if self._path else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def build_key(network: str, dtype: torch.dtype, device: torch.device) -> str:
    """Return the key of a trial.

    Args:
        network: Text that identifies the network, its weights and its input size.
        dtype: Number format.
        device: Device, of which the processor counts.
    """
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{network} {dtype} {processor} torch {torch.__version__}"
