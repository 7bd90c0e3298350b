"""The backbone that is part of the project: the first layers of detection weights, in a file of their own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from app.config import ROOT
from app.detection.weights import load_network
from app.errors import BackboneError, WeightsError
from app.similarity.backbone_weights import find_weights
from app.similarity.backbones import Pooling, find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder

BACKBONE = find_backbone("illustrations")
FOLDER = ROOT / "models" / "backbones"
FILE = FOLDER / "illustrations.pt"


@pytest.mark.parametrize("pooling", [None, Pooling.NONE, Pooling.AVG])
def test_embeddings_are_the_map_of_stride_16(pooling: Pooling | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    maps: list[torch.Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        if output.ndim == 4 and output.shape[-1] == 14:
            maps.append(output)

    network = load_network(FILE)
    for layer in network.model[:9]:
        layer.register_forward_hook(keep)
    with torch.inference_mode():
        network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    features = maps[-1].mean((2, 3)) if pooling is Pooling.AVG else maps[-1].flatten(1)
    expected = functional.normalize(features, dim=1).numpy()
    found = load_embedder(BACKBONE, FOLDER, EmbedderConfig(pooling, device="cpu")).embed([image])
    assert found.shape == expected.shape == (1, 128 if pooling is Pooling.AVG else 128 * 14 * 14)
    assert np.abs(found - expected).max() < 1e-5


def test_absent_weights_are_named_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"put them there as models/backbones/illustrations\.pt"):
        find_weights(BACKBONE, tmp_path / "models" / "backbones")


def test_a_file_of_its_own_goes_before_detection_weights(tmp_path: Path) -> None:
    folder = tmp_path / "backbones"
    folder.mkdir()
    (tmp_path / "illustrations.pt").touch()
    assert find_weights(BACKBONE, folder) == tmp_path / "illustrations.pt"
    (folder / "illustrations.pt").touch()
    assert find_weights(BACKBONE, folder) == folder / "illustrations.pt"


def test_a_damaged_weights_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "illustrations.pt").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"illustrations\.pt"):
        load_embedder(BACKBONE, tmp_path / "backbones", EmbedderConfig(device="cpu"))
