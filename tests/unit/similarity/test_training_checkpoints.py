"""Checkpoints of users' own trainings: the weights are found under the names that the training programs add."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from app.errors import BackboneError
from app.similarity.backbone_checkpoints import fill, load_state

OTHER = {"queue": torch.zeros(2), "head.mlp.0.weight": torch.zeros(2)}


class Small(nn.Module):
    """A network with two layers and a classifier."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2, 1)
        self.fc = nn.Linear(2, 2)
        for parameter in self.parameters():
            nn.init.constant_(parameter, value)


def rename(prefix: str, value: float = 1.0) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": each for name, each in Small(value).state_dict().items()}


CHECKPOINTS = {
    "plain": rename(""),
    "state_dict": {"state_dict": rename(""), "epoch": 3},
    "model": {"model": rename("module.")},
    "DINO": {
        "student": rename("module.backbone.", 2.0) | {"module.head.mlp.0.weight": torch.zeros(2)},
        "teacher": rename("backbone.") | OTHER,
        "args": Namespace(arch="vit_small", epochs=100),
    },
    "student alone": {"student": rename("module.backbone.") | {"module.head.last": torch.zeros(2)}},
    "DINOv2": {"teacher": rename("backbone.") | {"dino_head.last_layer.weight": torch.zeros(2)}},
    "MoCo 2": {
        "arch": "resnet50",
        "state_dict": rename("module.encoder_k.", 2.0) | rename("module.encoder_q.") | {"module.queue": torch.zeros(2)},
    },
    "MoCo 3": {"state_dict": rename("module.base_encoder.") | rename("module.momentum_encoder.", 2.0)},
    "Lightning": {"state_dict": rename("model.backbone."), "global_step": 7},
    "compiled": {"model": rename("module._orig_mod.")},
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_network_is_found_in_the_checkpoint(tmp_path: Path, name: str) -> None:
    torch.save(CHECKPOINTS[name], tmp_path / "x.pth")
    network = Small(0.0)
    fill(network, load_state(tmp_path / "x.pth"), "x.pth", heads=("fc",))
    assert {float(value.mean()) for value in network.conv1.state_dict().values()} == {1.0}
    assert {float(value.mean()) for value in network.fc.state_dict().values()} == {0.0}


def test_a_prefix_of_the_network_itself_is_kept() -> None:
    network = nn.Sequential()
    network.add_module("backbone", Small(0.0))
    fill(network, rename("module.backbone."), "x.pth")
    assert float(network.state_dict()["backbone.conv1.bias"].mean()) == 1.0


def test_the_error_names_missing_and_surplus_parameters() -> None:
    with pytest.raises(BackboneError) as raised:
        fill(Small(0.0), rename("trunk."), "x.pth")
    assert str(raised.value.message) == (
        "x.pth contains the weights of another network: it lacks conv1.weight, conv1.bias, fc.weight and 1 more, it "
        "also has trunk.conv1.weight, trunk.conv1.bias, trunk.fc.weight and 1 more; replace it by the published file, "
        "or by your own weights of the same network."
    )
