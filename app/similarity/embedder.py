"""The embedder: loaded once, asked many times.

embedder = load_embedder(find_backbone("resnet34"), Path("models/backbones"), EmbedderConfig())
embeddings = embedder.embed([image, image])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.similarity.backbones import Backbone, Pooling
from app.similarity.networks import Network, load_network
from app.similarity.weights import find_weights

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class EmbedderConfig:
    """How to embed.

    Attributes:
        pooling: None for the backbone's own: of a ResNet the whole map, of another network what its head would see.
        batch_size: Images a forward pass.
        device: ``cuda``, ``cuda:1``, ``cpu``; empty for the GPU when there is one.
    """

    pooling: Pooling | None = None
    batch_size: int = 16
    device: str = ""


class Embedder:
    """A network on its device.

    Attributes:
        input_size: Side in pixels of the square that it looks at.
        dimension: Numbers an image.
    """

    def __init__(self, network: Network, config: EmbedderConfig) -> None:
        self.config = config
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.input_size = max(network.preprocessing.size)
        self.dimension = self.embed([np.zeros((8, 8, 3), np.uint8)]).shape[1]

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return an embedding a image ``(n, d)``, L2-normalised.

        Args:
            images: RGB arrays ``(height, width, 3)`` uint8.
        """
        size = self.config.batch_size
        batches = [self._embed(images[start : start + size]) for start in range(0, len(images), size)]
        return np.concatenate(batches) if batches else np.empty((0, self.dimension), np.float32)

    @torch.inference_mode()
    def _embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        tensor = self.network.preprocessing.prepare(images, self.device)
        features = self.network(tensor, self.config.pooling).float()
        return functional.normalize(features, dim=1).cpu().numpy()


def load_embedder(backbone: Backbone, folder: Path, config: EmbedderConfig) -> Embedder:
    """Return the embedder of a backbone, kept from the last time unless its weights file has changed.

    Args:
        backbone: The backbone.
        folder: Holds the weights files.
        config: How to embed.

    Raises:
        BackboneError: Its weights are absent, cannot be loaded, or belong to another network.
    """
    path = find_weights(backbone, folder)
    return _load(backbone, path, path.stat().st_mtime_ns, config)


@lru_cache(maxsize=2)
def _load(backbone: Backbone, path: Path, changed: int, config: EmbedderConfig) -> Embedder:
    return Embedder(load_network(backbone, path), config)
