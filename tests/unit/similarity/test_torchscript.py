"""SSCD is a TorchScript file: only the published file is loaded, because such a file is a program."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from app.errors import BackboneError
from app.similarity.backbones import BACKBONES, Backbone, Pooling
from app.similarity.embedder import EmbedderConfig, load_embedder
from app.similarity.networks import load_network

FILE = "sscd_disc_mixup.torchscript.pt"
IMAGE = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)


class Descriptor(nn.Module):
    """A small network that returns L2-normalised embeddings, as SSCD does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, 8, 16, stride=16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.body(images).mean([2, 3]))


class WritesFile(nn.Module):
    """A network whose TorchScript writes a file while it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.ops.aten.save(torch.zeros(1), self.path)  # ultralytics replaces torch.save

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def publish(network: nn.Module, folder: Path) -> Backbone:
    """Write a network as TorchScript, and return a backbone that has this file as its published one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(network).save(str(folder / FILE))
    digest = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    return replace(BACKBONES["sscd_disc_mixup"], checksum=f"sha256:{digest}")


def test_embeddings_are_those_of_the_script(tmp_path: Path) -> None:
    network = Descriptor()
    embedder = load_embedder(publish(network, tmp_path), tmp_path, EmbedderConfig(device="cpu"))
    assert (embedder.dimension, embedder.input_size) == (8, 320)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (torch.from_numpy(IMAGE) / 255 - mean) / std
    with torch.inference_mode():
        expected = network(scaled.permute(2, 0, 1)[None])[0].numpy()
    assert np.abs(embedder.embed([IMAGE])[0] - expected).max() < 1e-5


def test_another_pooling_is_rejected(tmp_path: Path) -> None:
    network = load_network(publish(Descriptor(), tmp_path), tmp_path / FILE)
    with pytest.raises(BackboneError, match="leave `pooling` empty"):
        network(torch.zeros(1, 3, 320, 320), Pooling.AVG)


def test_another_file_is_rejected_before_its_code_runs(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    backbone = publish(WritesFile(str(mark)), tmp_path)
    mark.unlink(missing_ok=True)
    with pytest.raises(BackboneError, match=r"sscd_disc_mixup\.torchscript\.pt is not the published file"):
        load_network(BACKBONES["sscd_disc_mixup"], tmp_path / FILE)
    assert not mark.exists()
    load_network(backbone, tmp_path / FILE)
    assert mark.exists()
