"""Load detectors, choose their runtime, and keep them in memory.

With ``Precision.AUTO``, trials decide which runtime is used. A trial detects on the sample pages of the project, with
the runtime and with torch in float32. The runtime passes if both find the same boxes, see :func:`find_difference`. The
detector uses the first runtime that passes. The results are stored (``runtime_trials.py``).
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import RLock

import numpy as np

from app.config import Settings
from app.detection.boxes import Detections, compute_iou
from app.detection.detector import Detector, DetectorConfig
from app.detection.precision import EXACT, Precision, Runtime, list_runtimes
from app.detection.runtime_trials import RuntimeTrials, build_key, load_sample_pages
from app.detection.streams import choose_device
from app.detection.weights import Weights, load_network
from app.devices import drop_when_memory_is_low

log = logging.getLogger(__name__)

# Confidence from which boxes of float32 are compared. Their partners may have half of it.
TRIAL_CONFIDENCE = 0.1
LEAST_IOU = 0.9


def find_difference(reference: Sequence[Detections], found: Sequence[Detections]) -> str:
    """Return how the boxes of a runtime differ from those of torch in float32, or "".

    Each box of float32 with ``TRIAL_CONFIDENCE`` needs a box with an IoU of at least ``LEAST_IOU``. The number of boxes
    with twice that confidence must not exceed the number of all boxes of float32.

    Args:
        reference: Detections of each page in float32, with a confidence of at least ``TRIAL_CONFIDENCE / 2``.
        found: Detections of the same pages by the runtime, with the same least confidence.
    """
    compared = 0
    for number, (expected, others) in enumerate(zip(reference, found, strict=True), start=1):
        boxes = expected.xyxy[expected.confidence >= TRIAL_CONFIDENCE]
        compared += len(boxes)
        overlaps = compute_iou(boxes, others.xyxy).max(axis=1, initial=0.0) if len(boxes) else np.ones(1)
        if overlaps.min() < LEAST_IOU:
            return f"on sample page {number}, a box has an IoU of only {overlaps.min():.2f} with the box of float32"
        extra = int((others.confidence >= 2 * TRIAL_CONFIDENCE).sum()) - len(expected)
        if extra > 0:
            return f"on sample page {number}, there are {extra} more boxes than in float32"
    return "" if compared else "float32 finds no box on the sample pages, so nothing can be compared"


def build_detector(weights: Weights, config: DetectorConfig, trials: RuntimeTrials) -> Detector:
    """Load weights for the first runtime that needs no trial, or gives the boxes of torch in float32 in its trial.

    Raises:
        WeightsError: If the file cannot be loaded.
    """
    digest, device = weights.digest(), choose_device(config.device)
    *tried, last = list_runtimes(config.precision, device)
    for runtime in tried:
        key = build_key(f"{digest} {config.size}", runtime, device)
        if not (difference := trials.find_or_run(key, partial(_try_runtime, weights, config, runtime))):
            return Detector(load_network(weights.path), config, digest, runtime)
        log.warning("%s is not used with %s: %s", weights.path.name, runtime, difference)
    return Detector(load_network(weights.path), config, digest, last)


def _try_runtime(weights: Weights, config: DetectorConfig, runtime: Runtime) -> str:
    """Return how the boxes of a runtime differ from those of torch in float32 on the sample pages, or ""."""
    plan = replace(config, confidence=TRIAL_CONFIDENCE / 2, streams=1)
    pages = load_sample_pages(config.size)
    detector = Detector(load_network(weights.path), plan, runtime=runtime)
    found = detector.detect(pages)
    if detector.runtime != runtime:
        return "the network returns NaN or infinity"
    reference = Detector(load_network(weights.path), plan, runtime=EXACT).detect(pages)
    return find_difference(reference, found)


class LoadedDetectors:
    """LRU cache of loaded detectors.

    Args:
        room: Largest number of detectors that stay loaded.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._loaded: OrderedDict[tuple[Path, DetectorConfig], tuple[Weights, Detector]] = OrderedDict()
        self._lock = RLock()  # a load that runs out of memory drops the other detectors

    def load(self, weights: Weights, config: DetectorConfig, trials: RuntimeTrials | None = None) -> Detector:
        """Return the detector of a weights file; it is reloaded if the file has changed.

        Raises:
            WeightsError: If the file cannot be loaded.
        """
        key = (weights.path, config)
        with self._lock:
            known, detector = self._loaded.pop(key, (None, None))
            if detector is None or known != weights:
                detector = None  # frees its memory before the new one is loaded
                while len(self._loaded) >= self._room:
                    self._loaded.popitem(last=False)
                detector = build_detector(weights, config, trials or RuntimeTrials(None))
            self._loaded[key] = weights, detector
        return detector

    def drop(self) -> int:
        """Drop all detectors, and return their number."""
        with self._lock:
            dropped = len(self._loaded)
            self._loaded.clear()
        return dropped


# Room for the default weights and one other file. Loading takes seconds, but a large network occupies half a gigabyte
# of GPU memory that batches need.
_loaded = LoadedDetectors(room=2)
drop_when_memory_is_low(_loaded.drop)


def build_config(settings: Settings, size: int) -> DetectorConfig:
    """Return the configuration of the detector of a worker, or of a command.

    Args:
        settings: Settings of this installation.
        size: Longer side of the network's input, in pixels.
    """
    s, precision = settings, Precision(settings.precision)
    return DetectorConfig(size, s.confidence, batch_size=s.batch_size, device=s.device, precision=precision, streams=0)


def load_detector(weights: Weights, config: DetectorConfig, trials: Path | None = None) -> Detector:
    """Return the cached detector of a weights file; it is reloaded if the file has changed.

    Args:
        weights: Weights file.
        config: Detector settings.
        trials: File with the results of trials of runtimes; None to run a trial at every load.

    Raises:
        WeightsError: If the file cannot be loaded.
    """
    return _loaded.load(weights, config, RuntimeTrials(trials))
