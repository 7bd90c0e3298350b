"""The detector: a network that is loaded once and detects in batches.

detector = load_detector(weights, DetectorConfig())
detections = detector.detect([image, image])
"""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from app.detection.boxes import Detections
from app.detection.weights import Weights, isolate_ultralytics, load_network

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

Image = NDArray[np.uint8]

# Grey value of the letterbox padding with which YOLO models are trained.
_PADDING = 114


@dataclass(frozen=True)
class DetectorConfig:
    """Detector settings.

    Attributes:
        size: Longer side of the network's input, in pixels.
        confidence: Least confidence of a detection.
        iou: IoU threshold of NMS within a class; 0.45 as in YOLOv5.
        most: Maximum number of detections per image.
        batch_size: Images per forward pass.
        device: ``cuda``, ``cuda:1`` or ``cpu``; empty for the GPU if there is one, else the CPU.
    """

    size: int = 640
    confidence: float = 0.25
    iou: float = 0.45
    most: int = 1000
    batch_size: int = 8
    device: str = ""


class Detector:
    """A detection network with its class names, on its device.

    Args:
        network: Detection network of ultralytics.
        config: Detector settings.
        digest: SHA-256 of the weights file, in hexadecimal; identifies the network.
    """

    def __init__(self, network: "BaseModel", config: DetectorConfig, digest: str = "") -> None:
        isolate_ultralytics()
        self.config = config
        self.digest = digest
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        self.class_names: Mapping[int, str] = dict(network.names)
        # YOLOv5 and ultralytics pad to multiples of at least 32, even if all strides are smaller.
        self._stride = max(32, int(torch.as_tensor(network.stride).max()))
        # RT-DETR takes the image stretched to a square and returns fractions of it; YOLO keeps the aspect ratio.
        self._stretches = type(network).__name__ == "RTDETRDetectionModel"
        self.network = network.fuse(verbose=False).to(self.device, self.dtype, memory_format=torch.channels_last)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Detect illustrations on images.

        Args:
            images: RGB arrays ``(height, width, 3)`` uint8.

        Returns:
            Detections of each image in order, in pixels of that image.
        """
        # Only images with the same input shape share a batch, so the padding does not depend on the other images.
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        inputs = [self._prepare(image) for image in images]
        for index, array in enumerate(inputs):
            groups[array.shape[:2]].append(index)
        found: dict[int, Detections] = {}
        for indices in groups.values():
            for start in range(0, len(indices), self.config.batch_size):
                batch = indices[start : start + self.config.batch_size]
                rows = self._forward(np.stack([inputs[index] for index in batch]))
                for index, boxes in zip(batch, rows, strict=True):
                    found[index] = self._restore(boxes, images[index], inputs[index])
        return [found[index] for index in range(len(images))]

    def _scale(self, image: Image) -> tuple[int, int]:
        """Return the (width, height) of a scaled image, in input pixels, before padding."""
        height, width = image.shape[:2]
        if self._stretches:
            return self.config.size, self.config.size
        factor = self.config.size / max(height, width)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def _prepare(self, image: Image) -> Image:
        """Scale an image and letterbox it: pad it on both sides to multiples of the stride."""
        width, height = self._scale(image)
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        (left, right), (top, bottom) = self._padding(width), self._padding(height)
        padded = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(_PADDING,) * 3)
        return cast(Image, padded)

    def _padding(self, length: int) -> tuple[int, int]:
        missing = -length % self._stride
        return missing // 2, missing - missing // 2

    @torch.inference_mode()
    def _forward(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return ``(n, 6)`` rows ``x1 y1 x2 y2 confidence class`` in input pixels, for each image of a batch."""
        from ultralytics.utils.nms import non_max_suppression

        tensor = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
        tensor = tensor.to(self.dtype, memory_format=torch.channels_last).div_(255)
        output = self.network(tensor)
        output = output[0] if isinstance(output, (list, tuple)) else output
        if self._stretches:
            output = _rows_of_queries(output, self.config.size)
        kept = non_max_suppression(
            output.float(),
            conf_thres=self.config.confidence,
            iou_thres=self.config.iou,
            max_det=self.config.most,
            # Time limit of NMS in seconds per image, after which results are incomplete; far above the normal time.
            max_time_img=10.0,
            end2end=self._stretches or bool(getattr(self.network, "end2end", False)),
        )
        return [rows[:, :6].cpu().numpy() for rows in kept]

    def _restore(self, rows: NDArray[np.float32], image: Image, padded: Image) -> Detections:
        """Convert rows in input pixels to detections in pixels of the original image."""
        width, height = self._scale(image)
        rows = rows.copy()
        rows[:, [0, 2]] -= (padded.shape[1] - width) // 2
        rows[:, [1, 3]] -= (padded.shape[0] - height) // 2
        return Detections.from_rows(rows).scaled((width, height), (image.shape[1], image.shape[0]))


def _rows_of_queries(output: torch.Tensor, size: int) -> torch.Tensor:
    """Convert RT-DETR's ``(b, n, 6)`` rows of centre, size, score, class from fractions to corners in pixels."""
    centre, extent, rest = output.split((2, 2, 2), dim=-1)
    return torch.cat([(centre - extent / 2) * size, (centre + extent / 2) * size, rest], dim=-1)


class LoadedDetectors:
    """LRU cache of loaded detectors.

    Args:
        room: Maximum number of loaded detectors.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._loaded: OrderedDict[tuple[Path, DetectorConfig], tuple[Weights, Detector]] = OrderedDict()
        self._lock = Lock()

    def load(self, weights: Weights, config: DetectorConfig) -> Detector:
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
                digest = weights.digest()
                detector = Detector(load_network(weights.path), config, digest)
            self._loaded[key] = weights, detector
        return detector


# Room for the default weights and one other file. Loading takes seconds; a large network takes half a gigabyte of GPU
# memory, which batches need more.
_loaded = LoadedDetectors(room=2)


def load_detector(weights: Weights, config: DetectorConfig) -> Detector:
    """Return the cached detector of a weights file; it is reloaded if the file has changed.

    Raises:
        WeightsError: If the file cannot be loaded.
    """
    return _loaded.load(weights, config)
