"""Load detectors: a reduced number format only if it gives the same boxes as float32, and each file only once.

With ``Precision.AUTO``, a reduced format is tried once for each weights file and machine, on the sample pages of the
project. Each box of float32 needs a box with an IoU of at least 0.9, and there must be no further boxes. Otherwise
float32 is used. The result of a trial is kept in a file.
"""

import json
import logging
import platform
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from app.config import ROOT
from app.detection.boxes import Detections, compute_iou
from app.detection.detector import Detector, DetectorConfig, find_device
from app.detection.precision import Precision, choose_dtype
from app.detection.weights import Weights, load_network
from app.images.pixels import decode_image
from app.storage import write_atomic

log = logging.getLogger(__name__)

# Pages on which a number format is tried.
SAMPLE_PAGES = ROOT / "iiif" / "sample"
# Boxes of float32 above this confidence are compared, with boxes of at least half of it.
TRIAL_CONFIDENCE = 0.1
LEAST_IOU = 0.9


def find_difference(reference: Sequence[Detections], reduced: Sequence[Detections]) -> str:
    """Return how the boxes of a reduced format differ from those of float32, or "".

    Args:
        reference: Detections of each page in float32, with a confidence of at least ``TRIAL_CONFIDENCE / 2``.
        reduced: Detections of the same pages in the reduced format.
    """
    compared = 0
    for number, (expected, found) in enumerate(zip(reference, reduced, strict=True), start=1):
        boxes = expected.xyxy[expected.confidence >= TRIAL_CONFIDENCE]
        compared += len(boxes)
        overlaps = compute_iou(boxes, found.xyxy).max(axis=1, initial=0.0) if len(boxes) else np.ones(1)
        if overlaps.min() < LEAST_IOU:
            return f"on sample page {number} a box has an IoU of {overlaps.min():.2f} with that of float32"
        extra = int((found.confidence >= 2 * TRIAL_CONFIDENCE).sum()) - len(expected)
        if extra > 0:
            return f"on sample page {number} there are {extra} more boxes than in float32"
    return "" if compared else "float32 finds nothing on the sample pages that could be compared"


class Trials:
    """The results of trials, in a file.

    Args:
        path: JSON file; None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def find(self, key: str) -> str | None:
        """Return the difference that a trial found, "" if there was none, or None without a trial."""
        found = self._load().get(key)
        return found if isinstance(found, str) else None

    def record(self, key: str, difference: str) -> None:
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(self._load() | {key: difference}, indent=1).encode())

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_bytes()) if self._path else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def build_key(digest: str, dtype: torch.dtype, device: torch.device, size: int) -> str:
    """Return the name of a trial: a trial is valid for one weights file, format, processor and version of torch."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{digest} {dtype} {size} {processor} torch {torch.__version__}"


def build_detector(weights: Weights, config: DetectorConfig, trials: Trials) -> Detector:
    """Load weights. With ``Precision.AUTO``, use a reduced format only if a trial shows that it gives the same boxes.

    Raises:
        WeightsError: If the file cannot be loaded.
    """
    digest, device = weights.digest(), find_device(config)
    dtype = choose_dtype(config.precision, device)
    if config.precision is Precision.AUTO and dtype is not torch.float32:
        key = build_key(digest, dtype, device, config.size)
        difference = trials.find(key)
        if difference is None:
            difference = _try_format(weights, config, dtype)
            trials.record(key, difference)
        if difference:
            log.warning("%s computes in float32, because in %s %s", weights.path.name, dtype, difference)
            dtype = torch.float32
    return Detector(load_network(weights.path), config, digest, dtype)


def _try_format(weights: Weights, config: DetectorConfig, dtype: torch.dtype) -> str:
    """Return how the boxes of a format differ from those of float32 on the sample pages, or ""."""
    plan = replace(config, confidence=TRIAL_CONFIDENCE / 2, streams=1)
    pages = []
    for path in sorted(SAMPLE_PAGES.glob("*.jpg")):
        with path.open("rb") as file:
            pages.append(decode_image(file, config.size)[0])
    try:
        reference, reduced = (
            Detector(load_network(weights.path), plan, dtype=each).detect(pages) for each in (torch.float32, dtype)
        )
    except RuntimeError as error:  # torch has no such operation in this format
        return f"it fails: {str(error).splitlines()[0][:200]}"
    return find_difference(reference, reduced)


class LoadedDetectors:
    """LRU cache of loaded detectors.

    Args:
        room: Maximum number of loaded detectors.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._loaded: OrderedDict[tuple[Path, DetectorConfig], tuple[Weights, Detector]] = OrderedDict()
        self._lock = Lock()

    def load(self, weights: Weights, config: DetectorConfig, trials: Trials | None = None) -> Detector:
        """Return the detector of a weights file; it is reloaded if the file has changed.

        Raises:
            WeightsError: If the file cannot be loaded.
        """
        key = (weights.path, config)
        with self._lock:
            known, detector = self._loaded.pop(key, (None, None))
            if detector is None or known != weights:
                detector = None  # free its memory before the next one is loaded
                while len(self._loaded) >= self._room:
                    self._loaded.popitem(last=False)
                detector = build_detector(weights, config, trials or Trials(None))
            self._loaded[key] = weights, detector
        return detector


# Room for the default weights and one other file. Loading takes seconds; a large network takes half a gigabyte of GPU
# memory, which batches need more.
_loaded = LoadedDetectors(room=2)


def load_detector(weights: Weights, config: DetectorConfig, trials: Path | None = None) -> Detector:
    """Return the cached detector of a weights file; it is reloaded if the file has changed.

    Args:
        weights: Weights file.
        config: Detector settings.
        trials: File with the results of trials of number formats; None to try at every load.

    Raises:
        WeightsError: If the file cannot be loaded.
    """
    return _loaded.load(weights, config, Trials(trials))
