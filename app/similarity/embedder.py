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

from app.similarity.backbone_weights import fetch_weights
from app.similarity.backbones import Backbone, Pooling
from app.similarity.networks import Network, load_network
from app.similarity.transpositions import Transposition

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class EmbedderConfig:
    """How to embed.

    Attributes:
        pooling: None for the backbone's own: of a ResNet the whole map, of another network what its classifier sees.
        batch_size: Images a forward pass. The attention of 16 takes 0.5 GB in the largest backbone, ViT-B/8 in float32.
        device: ``cuda``, ``cuda:1``, ``cpu``; empty for the GPU when there is one.
        half_precision: None for half precision on a GPU and float32 on the processor. True also takes bfloat16 there,
            twice as fast where it has instructions for it; scores then differ by up to a hundredth.
    """

    pooling: Pooling | None = None
    batch_size: int = 16
    device: str = ""
    half_precision: bool | None = None


class Embedder:
    """A network on its device.

    Attributes:
        input_size: Side in pixels of the square that it looks at. An image of fewer is enlarged.
        dimension: Numbers an image.
    """

    def __init__(self, network: Network, config: EmbedderConfig) -> None:
        self.config = config
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.input_size = max(network.preprocessing.size)
        self.dimension = self._embed(np.zeros((1, *network.preprocessing.size, 3), np.uint8)).shape[1]

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return an embedding for each image: ``(n, d)``, L2-normalised.

        A vector of zeros, like nothing and not even like itself, is the embedding of an image in which the network
        sees nothing at all; none is ever not a number.

        Args:
            images: RGB arrays ``(height, width, 3)`` uint8 of any shape, also of a single pixel.
        """
        return self.embed_transposed(images, (Transposition.NONE,))[0]

    def embed_transposed(self, images: Sequence[Image], transpositions: Sequence[Transposition]) -> NDArray[np.float32]:
        """Return an embedding for each image under each transposition: ``(t, n, d)``. Each is scaled only once."""
        size = self.config.batch_size
        embeddings = np.empty((len(transpositions), len(images), self.dimension), np.float32)
        for start in range(0, len(images), size):
            batches = self.network.preprocessing.scale(images[start : start + size], transpositions)
            for place, batch in enumerate(batches):
                embeddings[place, start : start + size] = self._embed(batch)
        return embeddings

    @torch.inference_mode()
    def _embed(self, images: Image) -> NDArray[np.float32]:
        """Return embeddings of images that have the network's size."""
        batch = self.network.preprocessing.normalise(torch.from_numpy(images).to(self.device))
        half = self.device.type == "cuda" if self.config.half_precision is None else self.config.half_precision
        features = self._forward(batch, half)
        if half and not bool(features.isfinite().all()):
            features = self._forward(batch, half=False)  # too large for half precision
        known = features.isfinite().all(1, keepdim=True)
        return functional.normalize(torch.where(known, features, 0.0), dim=1).cpu().numpy()

    def _forward(self, batch: torch.Tensor, half: bool) -> torch.Tensor:
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        with torch.autocast(self.device.type, dtype, enabled=half):
            return self.network(batch, self.config.pooling).float()


def load_embedder(backbone: Backbone, folder: Path, config: EmbedderConfig) -> Embedder:
    """Return the embedder of a backbone, kept from the last time unless its weights file has changed.

    Args:
        backbone: The backbone.
        folder: Holds the weights files; published weights that are absent are downloaded to it.
        config: How to embed.

    Raises:
        BackboneError: Its weights are absent and did not come, cannot be loaded, or belong to another network.
    """
    path = fetch_weights(backbone, folder)
    return _load(backbone, path, path.stat().st_mtime_ns, config)


@lru_cache(maxsize=2)
def _load(backbone: Backbone, path: Path, changed: int, config: EmbedderConfig) -> Embedder:
    return Embedder(load_network(backbone, path), config)
