"""Trials of runtimes: the sample pages, and the file with the results.

A trial compares a runtime with torch in float32. It runs once for each weights file, GPU or architecture of the
processor, and version of torch and OpenVINO.
"""

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.config import ROOT
from app.detection.precision import Library, Runtime
from app.devices import describe, is_device_lost
from app.errors import OutOfMemory
from app.images.pixels import decode_image
from app.storage import write_atomic

SAMPLE_PAGES = ROOT / "iiif" / "sample"


class RuntimeTrials:
    """The results of trials.

    Args:
        path: JSON file; None to store nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def find_or_run(self, key: str, run: Callable[[], str]) -> str:
        """Return how a runtime differs from torch in float32, or "".

        Args:
            key: Key of the trial, see :func:`build_key`.
            run: Function that runs the trial; called only if there is no result.

        Raises:
            RuntimeError: The process can no longer use the GPU.
        """
        known = self._load().get(key)
        if isinstance(known, str):
            return known
        try:
            difference = run()
        except OutOfMemory:  # temporary: not recorded, so the next load repeats the trial
            return "the trial ran out of memory"
        except RuntimeError as error:  # the library does not support the network, or not in this format
            if is_device_lost(error):
                raise
            difference = f"the network fails: {describe(error)}"
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


def load_sample_pages(least: int) -> list[NDArray[np.uint8]]:
    """Return the RGB pixels of the sample pages of the project.

    Args:
        least: Required length of the longer side, in pixels, for a reduced decode.
    """
    pages = []
    for path in sorted(SAMPLE_PAGES.glob("*.jpg")):
        with path.open("rb") as file:
            pages.append(decode_image(file, least)[0])
    return pages


def build_key(network: str, runtime: Runtime, device: torch.device) -> str:
    """Return the key of a trial.

    Args:
        network: Text that identifies the network, its weights and its input size.
        runtime: Library and number format.
        device: Device; the model of a GPU counts, and the architecture of a processor, such as ``x86_64``.
    """
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = f"torch {torch.__version__}"
    if runtime.library is Library.OPENVINO:
        versions += f" openvino {version('openvino')}"
    return f"{network} {runtime} {processor} {versions}"
