"""The embedder: a backbone that is loaded once and embeds images in batches.

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

from app.devices import Batches, drop_when_memory_is_low, shrink_to_memory
from app.similarity.backbone_weights import fetch_weights
from app.similarity.backbones import Backbone, Pooling
from app.similarity.networks import Network, load_network
from app.similarity.transpositions import Transposition

Image = NDArray[np.uint8]

# For the operator of a server whose memory does not suffice.
ADVICE = "choose a smaller backbone"


@dataclass(frozen=True)
class EmbedderConfig:
    """Embedder settings.

    Attributes:
        pooling: Pooling of the features. None for the backbone's default: the whole feature map for a ResNet, the
            input of the classifier for other networks.
        batch_size: Images per forward pass. In the largest backbone, ViT-B/8 in float32, the attention of 16 images
            takes 0.5 GB.
        device: ``cuda``, ``cuda:1`` or ``cpu``; empty for the GPU if there is one, else the CPU.
        half_precision: None for float16 on a GPU and float32 on the CPU. True also uses bfloat16 on the CPU, twice as
            fast on CPUs with bfloat16 instructions; scores then differ by up to 0.01.
    """

    pooling: Pooling | None = None
    batch_size: int = 16
    device: str = ""
    half_precision: bool | None = None


class Embedder:
    """A network on its device.

    Attributes:
        input_size: Longer side of the network's input, in pixels; smaller images are enlarged.
        dimension: Length of an embedding.
    """

    def __init__(self, network: Network, config: EmbedderConfig) -> None:
        self.config = config
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = shrink_to_memory(
            lambda _: network.to(self.device).to(memory_format=torch.channels_last), 1, ADVICE
        )
        self._batches = Batches(config.batch_size, ADVICE)
        self.input_size = max(network.preprocessing.size)
        blank = np.zeros((1, *network.preprocessing.size, 3), np.uint8)
        self.dimension = shrink_to_memory(lambda _: self._embed(blank), 1, ADVICE).shape[1]

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the embeddings of images: ``(n, d)`` float32, L2-normalised.

        Embeddings are never NaN. An image whose features are all zero, or not all finite, has the zero vector as its
        embedding. Its cosine similarity to every image is 0.

        Args:
            images: RGB arrays ``(height, width, 3)`` uint8 of any size, even a single pixel.
        """
        return self.embed_transposed(images, (Transposition.NONE,))[0]

    def embed_transposed(self, images: Sequence[Image], transpositions: Sequence[Transposition]) -> NDArray[np.float32]:
        """Return the embeddings of images under each transposition: ``(t, n, d)``."""

        def embed(chosen: Sequence[Image]) -> list[NDArray[np.float32]]:
            return [self._embed(batch) for batch in self.network.preprocessing.scale(chosen, transpositions)]

        embeddings = np.empty((len(transpositions), len(images), self.dimension), np.float32)
        done = 0
        for batch, rows in self._batches.run(embed, images):
            embeddings[:, done : done + len(batch)] = rows
            done += len(batch)
        return embeddings

    @torch.inference_mode()
    def _embed(self, images: Image) -> NDArray[np.float32]:
        """Return the embeddings of images ``(n, height, width, 3)`` that have the network's input size."""
        batch = self.network.preprocessing.normalise(torch.from_numpy(images).to(self.device))
        half = self.device.type == "cuda" if self.config.half_precision is None else self.config.half_precision
        features = self._forward(batch, half)
        if half and not bool(features.isfinite().all()):
            features = self._forward(batch, half=False)  # a feature has overflowed
        known = features.isfinite().all(1, keepdim=True)
        return functional.normalize(torch.where(known, features, 0.0), dim=1).cpu().numpy()

    def _forward(self, batch: torch.Tensor, half: bool) -> torch.Tensor:
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        with torch.autocast(self.device.type, dtype, enabled=half):
            return self.network(batch, self.config.pooling).float()


def load_embedder(backbone: Backbone, folder: Path, config: EmbedderConfig) -> Embedder:
    """Return the cached embedder of a backbone; it is reloaded if its weights file has changed.

    Args:
        backbone: The backbone.
        folder: Folder of the weights files; missing published weights are downloaded into it.
        config: Embedder settings.

    Raises:
        BackboneError: If the weights are missing, cannot be downloaded or loaded, or belong to another network.
    """
    path = fetch_weights(backbone, folder)
    return _load(backbone, path, path.stat().st_mtime_ns, config)


@lru_cache(maxsize=2)
def _load(backbone: Backbone, path: Path, changed: int, config: EmbedderConfig) -> Embedder:
    return Embedder(load_network(backbone, path), config)


@drop_when_memory_is_low
def _drop_loaded() -> int:
    """Drop all cached embedders, and return their number."""
    dropped = _load.cache_info().currsize
    _load.cache_clear()
    return dropped
