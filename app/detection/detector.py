"""The detector: loaded once, asked many times.

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

# The grey that YOLO models are trained to see beside an image.
_PADDING = 114


@dataclass(frozen=True)
class DetectorConfig:
    """How to detect.

    Attributes:
        size: Longer side of the network's input, in pixels.
        confidence: Boxes below are dropped.
        iou: Of two boxes of a class that overlap more than this, the less sure one is dropped. 0.45 is YOLOv5's own.
        most: At most so many boxes an image.
        batch_size: Images a forward pass.
        device: ``cuda``, ``cuda:1``, ``cpu``; empty for the GPU when there is one.
    """

    size: int = 640
    confidence: float = 0.25
    iou: float = 0.45
    most: int = 1000
    batch_size: int = 8
    device: str = ""


class Detector:
    """A network with its class names, on its device.

    Args:
        network: A detection network of ultralytics.
        config: How to detect.
        digest: Stands for the weights file that the network is from, and for no other.
    """

    def __init__(self, network: "BaseModel", config: DetectorConfig, digest: str = "") -> None:
        isolate_ultralytics()
        self.config = config
        self.digest = digest
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        self.class_names: Mapping[int, str] = dict(network.names)
        # At least what YOLOv5 and ultralytics pad to for a network whose levels all are finer.
        self._stride = max(32, int(torch.as_tensor(network.stride).max()))
        # RT-DETR sees a stretched square and answers in fractions of it; YOLO sees an even scale.
        self._stretches = type(network).__name__ == "RTDETRDetectionModel"
        self.network = network.fuse(verbose=False).to(self.device, self.dtype, memory_format=torch.channels_last)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the illustrations on images.

        Args:
            images: RGB arrays ``(height, width, 3)`` uint8.

        Returns:
            For each image, in order, its detections in pixels of that image.
        """
        # Pages of one shape share a forward pass; no image's padding depends on its neighbours.
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
        """Return the (width, height) of an image inside the network's input."""
        height, width = image.shape[:2]
        if self._stretches:
            return self.config.size, self.config.size
        factor = self.config.size / max(height, width)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def _prepare(self, image: Image) -> Image:
        """Scale an image and pad it evenly to whole strides."""
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
        """Return ``(n, 6)`` rows ``x1 y1 x2 y2 confidence class`` in input pixels for each image of a batch."""
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
            # NMS gives up on a crowded batch after this time, in seconds an image: better late than incomplete.
            max_time_img=10.0,
            end2end=self._stretches or bool(getattr(self.network, "end2end", False)),
        )
        return [rows[:, :6].cpu().numpy() for rows in kept]

    def _restore(self, rows: NDArray[np.float32], image: Image, padded: Image) -> Detections:
        """Carry rows from input pixels back to the image."""
        width, height = self._scale(image)
        rows = rows.copy()
        rows[:, [0, 2]] -= (padded.shape[1] - width) // 2
        rows[:, [1, 3]] -= (padded.shape[0] - height) // 2
        return Detections.from_rows(rows).scaled((width, height), (image.shape[1], image.shape[0]))


def _rows_of_queries(output: torch.Tensor, size: int) -> torch.Tensor:
    """Turn RT-DETR's ``(b, n, 6)`` of centre, size (as fractions), score, class into corners in pixels."""
    centre, extent, rest = output.split((2, 2, 2), dim=-1)
    return torch.cat([(centre - extent / 2) * size, (centre + extent / 2) * size, rest], dim=-1)


class LoadedDetectors:
    """Detectors that stay loaded, but for the one that was used least recently when there is no room.

    Args:
        room: For so many.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._loaded: OrderedDict[tuple[Path, DetectorConfig], tuple[Weights, Detector]] = OrderedDict()
        self._lock = Lock()

    def load(self, weights: Weights, config: DetectorConfig) -> Detector:
        """Return the detector of some weights, loaded anew when their file has changed.

        Raises:
            WeightsError: The file cannot be loaded.
        """
        key = (weights.path, config)
        with self._lock:
            known, detector = self._loaded.pop(key, (None, None))
            if detector is None or known != weights:
                detector = None  # what it takes of the memory is free for the next
                while len(self._loaded) >= self._room:
                    self._loaded.popitem(last=False)
                digest = weights.digest()
                detector = Detector(load_network(weights.path), config, digest)
            self._loaded[key] = weights, detector
        return detector


# The default weights, and others that are tried beside them: to load a third takes seconds, and a large network half a
# gigabyte of the GPU, which the batches need more.
_loaded = LoadedDetectors(room=2)


def load_detector(weights: Weights, config: DetectorConfig) -> Detector:
    """Return the detector of some weights, kept from the last time unless the file has changed.

    Raises:
        WeightsError: The file cannot be loaded.
    """
    return _loaded.load(weights, config)
