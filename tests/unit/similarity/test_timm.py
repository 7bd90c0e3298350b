"""Any timm model with local weights can be used as a backbone."""

from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torch import nn

from app.errors import BackboneError
from app.similarity.backbone_weights import identify
from app.similarity.backbones import Pooling, find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder

VIT, CNN = "test_vit.r160_in1k", "test_efficientnet.r160_in1k"


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False).eval()


def save(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), path)


@torch.inference_mode()
def compute(model: nn.Module, image: np.ndarray) -> np.ndarray:
    """Return a model's embedding of a square image of its input size, with timm's own preprocessing."""
    from PIL import Image

    transform = create_transform(**resolve_model_data_config(model) | {"crop_pct": 1.0, "crop_mode": "squash"})
    features = model.forward_features(transform(Image.fromarray(image))[None])
    found = model.forward_head(features, pre_logits=True)[0]
    return (found / found.norm()).numpy()


@pytest.mark.parametrize("name", [VIT, CNN])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_timm_model_uses_its_own_preprocessing(tmp_path: Path, name: str, suffix: str) -> None:
    model, image = build(name), np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    path = tmp_path / f"timm-{name}{suffix}"
    save(model, path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    embedder = load_embedder(find_backbone(f"timm:{name}"), tmp_path, EmbedderConfig(device="cpu"))
    assert embedder.input_size == 160
    assert np.abs(embedder.embed([image])[0] - compute(model, image)).max() < 1e-4


@pytest.mark.parametrize(("name", "dimensions"), [(VIT, {Pooling.NONE: 6400, Pooling.AVG: 64, Pooling.GEM: 64})])
def test_patches_are_pooled_without_the_class_token(tmp_path: Path, name: str, dimensions: dict[Pooling, int]) -> None:
    save(build(name), tmp_path / f"timm-{name}.safetensors")
    for pooling, dimension in dimensions.items():
        embedder = load_embedder(find_backbone(f"timm:{name}"), tmp_path, EmbedderConfig(pooling, device="cpu"))
        assert embedder.dimension == dimension


def test_weights_are_loaded_from_the_hugging_face_cache(tmp_path: Path, hub_cache: Path) -> None:
    repository = hub_cache / "models--timm--test_vit.r160_in1k"
    save(build(VIT), repository / "snapshots" / "0123" / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    backbone = find_backbone(f"timm:{VIT}")
    assert load_embedder(backbone, tmp_path, EmbedderConfig()).dimension == 64
    assert identify(backbone, None, tmp_path)


def test_the_error_for_missing_weights_names_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "backbones"
    with pytest.raises(BackboneError, match=r"models/backbones/timm-test_vit\.r160_in1k\.safetensors"):
        load_embedder(find_backbone(f"timm:{VIT}"), folder, EmbedderConfig())


@pytest.mark.parametrize("name", ["no_such_model", "test_vit.no_such_weights"])
def test_a_model_unknown_to_timm_is_named(tmp_path: Path, name: str) -> None:
    save(build(VIT), tmp_path / f"timm-{name}.safetensors")
    with pytest.raises(BackboneError, match=name):
        load_embedder(find_backbone(f"timm:{name}"), tmp_path, EmbedderConfig())
    with pytest.raises(BackboneError, match=name):
        load_embedder(find_backbone(f"timm:{name}"), tmp_path / "empty", EmbedderConfig())


def test_the_weights_of_another_model_are_rejected(tmp_path: Path) -> None:
    save(build(CNN), tmp_path / f"timm-{VIT}.safetensors")
    with pytest.raises(BackboneError, match=f"does not fit timm's {VIT}"):
        load_embedder(find_backbone(f"timm:{VIT}"), tmp_path, EmbedderConfig())


def test_a_classifier_with_other_classes_is_accepted(tmp_path: Path) -> None:
    model = build(CNN)
    expected = compute(model, np.zeros((160, 160, 3), np.uint8))
    model.reset_classifier(7)
    save(model, tmp_path / f"timm-{CNN}.safetensors")
    embedder = load_embedder(find_backbone(f"timm:{CNN}"), tmp_path, EmbedderConfig(device="cpu"))
    assert np.abs(embedder.embed([np.zeros((160, 160, 3), np.uint8)])[0] - expected).max() < 1e-4
