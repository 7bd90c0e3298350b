"""The detector: a network that is loaded once and detects in batches.

detector = load_detector(weights, DetectorConfig())
detections = detector.detect([image, image])
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from app.detection.boxes import Detections
from app.detection.precision import Precision, choose_dtype, copy_sharing_weights, decode_in_float32
from app.detection.streams import StreamedNetwork, choose_device
from app.detection.voting import asks_for_voting, vote
from app.detection.weights import isolate_ultralytics
from app.detection.weights_files.library import load_library
from app.devices import Batches, shrink_to_memory
from app.errors import WeightsError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

# For the operator of a server whose memory does not suffice.
ADVICE = "lower MODEL_SIZE, or choose smaller weights"
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
        dtype: Number format; None to choose it by ``config.precision``.
    """

    def __init__(
        self, network: "BaseModel", config: DetectorConfig, digest: str = "", dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(choose_device(config.device), config.streams, config.batch_size)
        isolate_ultralytics()
        self.config = config
        self.digest = digest
        self.dtype = dtype or choose_dtype(config.precision, self.device)
        self.class_names: Mapping[int, str] = dict(network.names)
        # YOLOv5 and ultralytics pad to multiples of at least 32, even if all strides are smaller.
        self._stride = max(32, int(torch.as_tensor(network.stride).max()))
        # RT-DETR takes the image stretched to a square and returns fractions of it; YOLO keeps the aspect ratio.
        self._stretches = type(network).__name__ == "RTDETRDetectionModel"
        self._votes = asks_for_voting(network)
        self._batches = Batches(config.batch_size, ADVICE)
        with _blame_weights():
            fused: Any = network.fuse(verbose=False)
        self.network = shrink_to_memory(
            lambda _: fused.to(self.device, self.dtype, memory_format=torch.channels_last), 1, ADVICE
        )
        self._widening = Lock()
        self._free: SimpleQueue[Any] = SimpleQueue()
        for copy in (self.network, *(copy_sharing_weights(self.network) for _ in range(1, self.streams))):
            self._free.put(copy if self.dtype is torch.float32 else decode_in_float32(copy))

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

        dtype, output, end2end = self._compute(batch)
        if not torch.isfinite(output).all():
            if dtype is torch.float32:
                raise WeightsError(
                    "The model computes NaN or infinity on a page, also in float32: "
                    "train it again, or choose another model."
                )
            self._widen(dtype)
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
            end2end=self._stretches or end2end,
        )
        found = [rows[:, :6].cpu().numpy() for rows in kept]
        if not self._votes:
            return found
        return [vote(rows, each.float().cpu().numpy()) for rows, each in zip(found, output, strict=True)]

    def _compute(self, batch: NDArray[np.uint8]) -> tuple[torch.dtype, torch.Tensor, bool]:
        """Run the network on a batch. Return its number format, its output, and whether the output needs no NMS."""
        with self.lend_network() as network:
            dtype = self.dtype
            tensor = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
            with _blame_weights():
                output = network(tensor.to(dtype, memory_format=torch.channels_last).div_(255))
        output = output[0] if isinstance(output, (list, tuple)) else output
        return dtype, output, bool(getattr(network, "end2end", False))

    @contextmanager
    def lend_network(self) -> Iterator[Any]:
        """Lend a network that no other thread uses; wait until one is free."""
        network = self._free.get()
        try:
            yield network
        finally:
            self._free.put(network)

    def _widen(self, dtype: torch.dtype) -> None:
        """Convert all networks to float32, unless another thread has already done it."""
        with self._widening:
            if self.dtype is not dtype:
                return
            log.warning("The network returned NaN or infinity in %s: it uses float32 from now on", dtype)
            networks = [self._free.get() for _ in range(self.streams)]  # waits until no thread uses a network
            try:
                for network in networks:
                    network.float()
                self.dtype = torch.float32
            finally:  # otherwise all threads would wait forever after an error
                for network in networks:
                    self._free.put(network)

    def _restore(self, rows: NDArray[np.float32], image: Image, padded: Image) -> Detections:
        """Convert rows in input pixels to detections in pixels of the original image."""
        width, height = self._scale(image)
        rows = rows.copy()
        rows[:, [0, 2]] -= (padded.shape[1] - width) // 2
        rows[:, [1, 3]] -= (padded.shape[0] - height) // 2
        return Detections.from_rows(rows).scaled((width, height), (image.shape[1], image.shape[0]))


@contextmanager
def _blame_weights() -> Iterator[None]:
    """Convert errors of a network whose attributes are not those that the installed ultralytics uses."""
    try:
        yield
    except (AttributeError, TypeError, LookupError, AssertionError) as error:
        library, reason = f"ultralytics {load_library().version}", " ".join(str(error).split())[:200]
        raise WeightsError(
            f"The model does not run with {library} of this server, so another release or a fork saved it ({reason}): "
            f"train it again with {library}."
        ) from error


def _rows_of_queries(output: torch.Tensor, size: int) -> torch.Tensor:
    """Convert RT-DETR's ``(b, n, 6)`` rows of centre, size, score, class from fractions to corners in pixels."""
    centre, extent, rest = output.split((2, 2, 2), dim=-1)
    return torch.cat([(centre - extent / 2) * size, (centre + extent / 2) * size, rest], dim=-1)
