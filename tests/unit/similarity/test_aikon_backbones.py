"""The backbones that the AIKON front end offers, with small networks in place of theirs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from app.errors import BackboneError
from app.similarity.backbone_weights import find_weights
from app.similarity.backbones import BACKBONES, find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder
from app.similarity.networks import load_network

VIT = "test_vit.r160_in1k"
CPU = EmbedderConfig(device="cpu")


def save_vit(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(VIT, pretrained=False).eval()
    torch.save(model.state_dict(), folder / "vit.pth")
    return model


def build_watermarks() -> nn.Module:
    """Return a ResNet-18 without classifier."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    network.fc = nn.Identity()
    return network


def test_clip_embeddings_are_projected(tmp_path: Path) -> None:
    model, image = save_vit(tmp_path), np.full((160, 160, 3), 90, np.uint8)
    backbone = replace(BACKBONES["clip_vitb32"], architecture=f"clip:{VIT}", file="vit.pth", input_size=160)
    network = load_network(backbone, tmp_path / "vit.pth")
    batch = network.preprocessing.normalise(torch.from_numpy(image[None]))
    with torch.inference_mode():
        assert torch.allclose(network(batch, None), model(batch), atol=1e-5)


def test_a_transformer_is_used_at_the_size_of_the_table(tmp_path: Path) -> None:
    save_vit(tmp_path)
    backbone = replace(BACKBONES["dinov2_vitb14"], architecture=f"timm:{VIT}", file="vit.pth", input_size=96)
    embedder = load_embedder(backbone, tmp_path, CPU)
    assert (embedder.input_size, embedder.dimension) == (96, 64)


@pytest.mark.parametrize("whole", [True, False], ids=["module", "state dict"])
@pytest.mark.parametrize(("name", "dimension"), [("resnet18_watermarks", 512), ("resnet18_watermarks_conv4", 256)])
def test_both_networks_for_watermarks_use_one_file(tmp_path: Path, name: str, dimension: int, whole: bool) -> None:
    network = build_watermarks()
    torch.save(network if whole else network.state_dict(), tmp_path / "resnet18_watermarks.pth")
    embedder = load_embedder(find_backbone(name), tmp_path, CPU)
    assert (embedder.input_size, embedder.dimension) == (320, dimension)
    image = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    if dimension == 512:
        batch = (torch.from_numpy(image) / 255 - torch.tensor([0.75, 0.7, 0.65])) / torch.tensor([0.14, 0.15, 0.16])
        with torch.inference_mode():
            expected = nn.functional.normalize(network(batch.permute(2, 0, 1)[None]))[0].numpy()
        assert np.abs(embedder.embed([image])[0] - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("clip_vitb32", r"download https\S+/open_clip_model\.safetensors to models/backbones/clip_vitb32\.safetensors"),
        ("resnet18_watermarks_conv4", r"download https\S+ to models/backbones/resnet18_watermarks\.pth"),
        ("sscd_disc_mixup", r"download https\S+ to models/backbones/sscd_disc_mixup\.torchscript\.pt"),
        ("dinov2_vitb14", r"download https\S+ to models/backbones/dinov2_vitb14\.pth"),
    ],
)
def test_absent_weights_are_named_with_their_address_and_place(tmp_path: Path, name: str, place: str) -> None:
    with pytest.raises(BackboneError, match=place):
        find_weights(find_backbone(name), tmp_path / "models" / "backbones")


@pytest.mark.parametrize("name", ["clip_vitb32", "resnet18_watermarks"])
def test_weights_without_a_checksum_are_not_downloaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackboneError, match="are not on this server: download"):
        load_embedder(find_backbone(name), tmp_path / "models" / "backbones", CPU)
