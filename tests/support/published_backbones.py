"""Weights files of backbones in their published formats, with random weights."""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

State = dict[str, torch.Tensor]


@cache
def build_resnet(name: str) -> nn.Module:
    """Return a ResNet whose batch normalisation is not the identity, as after training. Do not change it."""
    torch.manual_seed(1)
    network = torchvision.models.get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
    return network


def build_vit_state(name: str) -> State:
    """Return the state dict of a transformer in which every parameter affects the output."""
    torch.manual_seed(2)
    with torch.device("meta"):
        state = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
    return {key: torch.normal(1.0 if each.ndim == 1 else 0.0, 0.05, each.shape) for key, each in state.items()}


def format_moco(state: Mapping[str, torch.Tensor]) -> dict[str, object]:
    """Return a checkpoint of MoCo: the query encoder under a prefix, a projection head, and other entries."""
    body = {f"module.encoder_q.{name}": value for name, value in state.items() if not name.startswith("fc.")}
    head = {
        "module.encoder_q.fc.0.weight": torch.zeros(2048, 2048),
        "module.encoder_q.fc.0.bias": torch.zeros(2048),
        "module.encoder_q.fc.2.weight": torch.zeros(128, 2048),
        "module.encoder_q.fc.2.bias": torch.zeros(128),
    }
    rest = {"module.encoder_k.conv1.weight": torch.zeros(64, 3, 7, 7), "module.queue": torch.zeros(128, 8)}
    return {"epoch": 800, "arch": "resnet50", "state_dict": body | head | rest}


def save_published(name: str, folder: Path) -> Path:
    """Write the weights file of a published backbone."""
    path = folder / f"{name}.pth"
    match name:
        case "resnet34":
            torch.save(build_resnet("resnet34").state_dict(), path)
        case "moco_v2_800ep_pretrain":
            torch.save(format_moco(build_resnet("resnet50").state_dict()), path)
        case "dino_deitsmall16_pretrain":
            torch.save(build_vit_state("vit_small_patch16_224.dino"), path)
        case "dino_vitbase8_pretrain":
            torch.save(build_vit_state("vit_base_patch8_224.dino"), path)
    return path


def compute_vit_tokens(images: torch.Tensor, state: State, patch: int, heads: int) -> torch.Tensor:
    """Return the tokens ``(n, 1 + patches, d)`` of a vision transformer, computed from its state dict.

    Architecture: Dosovitskiy et al., An image is worth 16x16 words, 2021, in the variant of DINO.
    """

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    kernel = "patch_embed.proj"
    x = functional.conv2d(images, state[f"{kernel}.weight"], state[f"{kernel}.bias"], stride=patch)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], dim=1) + state["pos_embed"]
    n, tokens, width = x.shape
    for block in range(12):
        name = f"blocks.{block}"
        qkv = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", x))
        query, key, value = qkv.view(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = (query @ key.transpose(-2, -1) / math.sqrt(width // heads)).softmax(-1)
        x = x + linear(f"{name}.attn.proj", (attention @ value).transpose(1, 2).reshape(n, tokens, width))
        hidden = functional.gelu(linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", x)))
        x = x + linear(f"{name}.mlp.fc2", hidden)
    return norm("norm", x)
