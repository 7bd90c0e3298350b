"""The embedder: a backbone that is loaded once and embeds images in batches.

embedder = load_embedder(find_backbone("resnet34"), Path("models/backbones"), EmbedderConfig())
embeddings = embedder.embed([image, image])
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Semaphore
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from app.detection.openvino_network import OpenVinoNetwork
from app.detection.precision import EXACT, Library, Precision, Runtime, list_runtimes
from app.detection.runtime_trials import RuntimeTrials, build_key, load_sample_pages
from app.detection.streams import StreamedNetwork, choose_device
from app.devices import Batches, drop_when_memory_is_low, shrink_to_memory
from app.similarity.backbone_weights import compute_digest, fetch_weights
from app.similarity.backbones import Backbone, Pooling
from app.similarity.networks import Network, load_network
from app.similarity.transpositions import Transposition

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]

# Largest difference of a score with which a runtime is used.
LARGEST_DIFFERENCE = 0.005
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
        precision: Number format of the network. With ``AUTO``, trials decide (:func:`find_difference`).
        streams: Number of threads that embed at the same time, each on its own batch; 0 to use one per CPU core, or
            one on a GPU.
    """

    pooling: Pooling | None = None
    batch_size: int = 16
    device: str = ""
    precision: Precision = Precision.FLOAT32
    streams: int = 1


class _Features(nn.Module):
    """A backbone that takes the pixels ``(n, height, width, 3)`` uint8 of images in its input size."""

    def __init__(self, network: Network, pooling: Pooling | None) -> None:
        super().__init__()
        self.network, self.pooling = network, pooling

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(self.network.preprocessing.normalise(pixels), self.pooling).float()


class Embedder(StreamedNetwork):
    """A network on its device. Threads may share one.

    Args:
        network: Network of a backbone, with weights in float32.
        config: Embedder settings.

    Attributes:
        runtime: Library that runs the network, and its number format; at first torch in float32, see :meth:`use`.
        input_size: Longer side of the network's input, in pixels; smaller images are enlarged.
        dimension: Length of an embedding.
    """

    def __init__(self, network: Network, config: EmbedderConfig) -> None:
        super().__init__(choose_device(config.device), config.streams, config.batch_size)
        self.config = config
        self.runtime = EXACT
        self._slots = Semaphore(self.streams)
        self.network = shrink_to_memory(
            lambda _: network.to(self.device).to(memory_format=torch.channels_last), 1, ADVICE
        )
        self._features = _Features(self.network, config.pooling)
        self._compiled: OpenVinoNetwork | None = None
        self._batches = Batches(config.batch_size, ADVICE)
        self.input_size = max(network.preprocessing.size)
        self._blank = np.zeros((1, *network.preprocessing.size, 3), np.uint8)
        self.dimension = shrink_to_memory(lambda _: self._embed(self._blank), 1, ADVICE).shape[1]

    def use(self, runtime: Runtime) -> None:
        """Run the network with another library, or in another format. No other thread may use the embedder meanwhile.

        Raises:
            RuntimeError: If the library does not support the network.
        """
        self._compiled = None
        if runtime.library is Library.OPENVINO:
            pixels = torch.from_numpy(self._blank)
            self._compiled = shrink_to_memory(
                lambda _: OpenVinoNetwork(self._features, pixels, (0,), runtime.dtype, self.streams), 1, ADVICE
            )
        self.runtime = runtime

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the embeddings of images: ``(n, d)`` float32, L2-normalised.

        Embeddings are never NaN. An image whose features are all zero, or not all finite, has the zero vector as its
        embedding. Its cosine similarity to every image is 0.

        Args:
            images: RGB arrays ``(height, width, 3)`` uint8 of any size, even a single pixel.
        """
        return self.embed_transposed(images, (Transposition.NONE,))[0]

    def reduce(self, image: Image) -> Image:
        """Return a smaller image with the same embeddings, to save memory."""
        return self.network.preprocessing.reduce(image)

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
        with self._slots:
            features = self._compiled(images) if self._compiled else self._run_torch(images, self.runtime.dtype)
            if self.runtime.dtype is not torch.float32 and not bool(features.isfinite().all()):
                features = self._run_torch(images, torch.float32)  # a feature has overflowed
        known = features.isfinite().all(1, keepdim=True)
        return functional.normalize(torch.where(known, features, 0.0), dim=1).cpu().numpy()

    def _run_torch(self, images: Image, dtype: torch.dtype) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            return cast(torch.Tensor, self._features(torch.from_numpy(images).to(self.device)))


def find_difference(embedder: Embedder, runtime: Runtime) -> str:
    """Return how the scores of a runtime differ from those of torch in float32, or "".

    The images are halves of the sample pages.

    Args:
        embedder: Embedder with torch in float32.
        runtime: Runtime to compare.
    """
    pages = load_sample_pages(4 * embedder.input_size)
    parts = [part for page in pages for part in (page[: len(page) // 2], page[len(page) // 2 :])]
    exact = embedder.embed(parts)
    try:
        embedder.use(runtime)
        found = embedder.embed(parts)
    finally:
        embedder.use(EXACT)
    difference = float(np.abs(found @ found.T - exact @ exact.T).max())
    return f"scores differ by {difference:.4f}" if difference > LARGEST_DIFFERENCE else ""


def load_embedder(
    backbone: Backbone,
    folder: Path,
    config: EmbedderConfig,
    trials: Path | None = None,
    ca_bundle: Path | None = None,
) -> Embedder:
    """Return the cached embedder of a backbone; it is reloaded if its weights file has changed.

    Args:
        backbone: The backbone.
        folder: Folder of the weights files; missing published weights are downloaded into it.
        config: Embedder settings.
        trials: File with the results of trials of runtimes; None to run a trial at every load.
        ca_bundle: File with certificate authorities to trust in addition to the public ones.

    Raises:
        BackboneError: If the weights are missing, cannot be downloaded or loaded, or belong to another network.
    """
    path = fetch_weights(backbone, folder, ca_bundle)
    return _load(backbone, path, path.stat().st_mtime_ns, config, trials)


@lru_cache(maxsize=2)
def _load(backbone: Backbone, path: Path, changed: int, config: EmbedderConfig, trials: Path | None) -> Embedder:
    embedder = Embedder(load_network(backbone, path), config)
    *tried, last = list_runtimes(config.precision, embedder.device)
    network = f"{compute_digest(path)} {config.pooling}" if tried else ""
    for runtime in tried:
        key = build_key(network, runtime, embedder.device)
        if not (difference := RuntimeTrials(trials).find_or_run(key, partial(find_difference, embedder, runtime))):
            embedder.use(runtime)
            return embedder
        log.warning("%s is not used with %s: %s", backbone.name, runtime, difference)
    embedder.use(last)
    return embedder


@drop_when_memory_is_low
def _drop_loaded() -> int:
    """Drop all cached embedders, and return their number."""
    dropped = _load.cache_info().currsize
    _load.cache_clear()
    return dropped
