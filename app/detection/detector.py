"""The detector: a network that is loaded once and detects in batches.

detector = load_detector(weights, DetectorConfig())
detections = detector.detect([image, image])
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from app.detection.boxes import Detections
from app.detection.engines import ADVICE, Engine, load_engines
from app.detection.precision import Library, Precision, Runtime, choose_dtype
from app.detection.streams import StreamedNetwork, choose_device
from app.detection.voting import asks_for_voting, needs_nms, vote
from app.detection.weights import isolate_ultralytics
from app.devices import Batches
from app.errors import WeightsError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

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
        precision: Number format of the network.
        streams: Number of threads that detect at the same time, each on its own batch; 0 to use one per CPU core, or
            one on a GPU.
    """

    size: int = 640
    confidence: float = 0.25
    iou: float = 0.45
    most: int = 1000
    batch_size: int = 8
    device: str = ""
    precision: Precision = Precision.FLOAT32
    streams: int = 1


class Detector(StreamedNetwork):
    """A detection network with its class names, on its device. Threads may share one.

    Args:
        network: Detection network of ultralytics.
        config: Detector settings.
        digest: SHA-256 of the weights file, in hexadecimal; identifies the network.
        runtime: Library and number format; None for torch in the format of ``config.precision``.
    """

    def __init__(
        self, network: "BaseModel", config: DetectorConfig, digest: str = "", runtime: Runtime | None = None
    ) -> None:
        super().__init__(choose_device(config.device), config.streams, config.batch_size)
        isolate_ultralytics()
        self.config = config
        self.digest = digest
        self.runtime = runtime or Runtime(Library.TORCH, choose_dtype(config.precision, self.device))
        self.class_names: Mapping[int, str] = dict(network.names)
        # YOLOv5 and ultralytics pad to multiples of at least 32, even if all strides are smaller.
        self._stride = max(32, int(torch.as_tensor(network.stride).max()))
        # RT-DETR takes the image stretched to a square and returns fractions of it; YOLO keeps the aspect ratio.
        self._stretches = type(network).__name__ == "RTDETRDetectionModel"
        self._votes, self._end2end = asks_for_voting(network), not needs_nms(network)
        self._batches = Batches(config.batch_size, ADVICE)
        self._widening = Lock()
        self._free: SimpleQueue[Engine] = SimpleQueue()
        for engine in load_engines(network, self.device, self.runtime, self.streams):
            self._free.put(engine)

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
            for batch, rows in self._batches.run(
                lambda chosen: self._forward(np.stack([inputs[index] for index in chosen])), indices
            ):
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

        with self.lend_engine() as engine:
            runtime, output = self.runtime, engine(batch)
        if not torch.isfinite(output).all():
            if runtime.dtype is torch.float32:
                raise WeightsError(
                    "The model computes NaN or infinity on a page, also in float32: "
                    "train it again, or choose another model."
                )
            self._widen(runtime)
            return self._forward(batch)
        if self._stretches:
            output = _rows_of_queries(output, self.config.size)
        kept = non_max_suppression(
            output.float(),
            conf_thres=self.config.confidence,
            iou_thres=self.config.iou,
            max_det=self.config.most,
            # Time limit of NMS in seconds per image, after which results are incomplete; far above the normal time.
            max_time_img=10.0,
            end2end=self._end2end,
        )
        found = [rows[:, :6].cpu().numpy() for rows in kept]
        if not self._votes:
            return found
        return [vote(rows, each.float().cpu().numpy()) for rows, each in zip(found, output, strict=True)]

    @contextmanager
    def lend_engine(self) -> Iterator[Engine]:
        """Lend an engine that no other thread uses; wait until one is free."""
        engine = self._free.get()
        try:
            yield engine
        finally:
            self._free.put(engine)

    def _widen(self, failed: Runtime) -> None:
        """Make all engines compute in float32, unless another thread has already done it."""
        with self._widening:
            if self.runtime != failed:
                return
            log.warning("The network returned NaN or infinity with %s: it uses float32 from now on", failed)
            engines = [self._free.get() for _ in range(self.streams)]  # waits until no thread uses an engine
            try:
                for engine in engines:
                    engine.widen()
                self.runtime = replace(failed, dtype=torch.float32)
            finally:  # otherwise all threads would wait forever after an error
                for engine in engines:
                    self._free.put(engine)

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
