"""The networks of backbones, built and filled with their weights."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from app.errors import BackboneError
from app.similarity.backbones import Backbone, Pooling
from app.similarity.preprocessing import Preprocessing

_GEM_POWER = 3.0


class Network(nn.Module):
    """A network whose features can be pooled in several ways."""

    preprocessing: Preprocessing

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        """Return ``(n, d)`` features of ``(n, 3, height, width)`` images."""
        raise NotImplementedError


class ResNet(Network):
    """A ResNet of torchvision up to the map called conv4 by its paper, and layer3 by torchvision."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.preprocessing = Preprocessing()
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        self.body = nn.Sequential(*(getattr(whole, name) for name in names))

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        return pool(self.body(images).flatten(2), pooling or Pooling.NONE)


class TimmNetwork(Network):
    """A network of timm."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        self.preprocessing = Preprocessing(
            config["input_size"][1:], config["mean"], config["std"], config["interpolation"]
        )
        self.model = model

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        features = self.model.forward_features(images)
        if pooling is None:
            return self.model.forward_head(features, pre_logits=True)
        if features.ndim == 3:
            tokens = features[:, self.model.num_prefix_tokens :].transpose(1, 2)
            return pool(tokens, pooling)
        return pool(features.flatten(2), pooling)


def pool(places: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return ``(n, d)`` of features ``(n, channels, places)``."""
    match pooling:
        case Pooling.NONE:
            return places.flatten(1)
        case Pooling.AVG:
            return places.mean(2)
        case Pooling.GEM:
            return places.clamp(min=1e-6).pow(_GEM_POWER).mean(2).pow(1 / _GEM_POWER)


def load_network(backbone: Backbone, path: Path) -> Network:
    """Build the network of a backbone and fill it with the weights of a file."""
    source, _, name = backbone.architecture.partition(":")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise BackboneError(f"{path.name} cannot be loaded safely.") from error
    state = select(checkpoint.get("state_dict", checkpoint), backbone.prefix)
    if source == "torchvision":
        import torchvision

        whole = getattr(torchvision.models, name)()
        whole.load_state_dict(state, strict=False)
        return ResNet(whole).eval()
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=0)
    model.load_state_dict(state)
    return TimmNetwork(model).eval()


def select(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix) and not name.removeprefix(prefix).startswith("fc.")
    }
