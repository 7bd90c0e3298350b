"""The networks of backbones: built, and loaded with their weights."""

from abc import ABC, abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torchvision
from timm.data import resolve_model_data_config
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from app.detection.weights import load_network as load_detection_network
from app.errors import BackboneError
from app.similarity.backbone_checkpoints import check_finite, drop_head, fill, load_state, name_mismatch
from app.similarity.backbones import Backbone, Pooling
from app.similarity.preprocessing import Preprocessing

_GEM_POWER = 3.0
_LEAST = 1e-6
# In YOLOv5, YOLOv8 and YOLO11, each of these layers reads the one before it.
_LAYERS_TO_STRIDE_16 = 7
_INTERPOLATIONS = ("bilinear", "bicubic")


class Network(nn.Module, ABC):
    """A network whose features can be pooled in several ways.

    Attributes:
        preprocessing: Preprocessing of the input images.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    @abstractmethod
    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        """Return ``(n, d)`` features of ``(n, 3, height, width)`` images; None is the network's default pooling."""


class ResNet(Network):
    """A torchvision ResNet up to ``layer3``, which the ResNet paper calls conv4.

    The default pooling is ``none``: 14 x 14 positions of 256 (ResNet-34) or 1024 (ResNet-50) channels.
    """

    def __init__(self, whole: nn.Module) -> None:
        super().__init__(Preprocessing())
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        self.body = nn.Sequential()
        for name in names:
            self.body.add_module(name, getattr(whole, name))
        _fuse_normalisation(self.body)

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        return pool(self.body(images).flatten(2), pooling or Pooling.NONE)


class TimmNetwork(Network):
    """A timm network. By default, the features are the input of its classifier; for DINO, the class token.

    With a pooling, the features are the patch tokens of a transformer, without class token and registers, or the last
    feature map of other networks.
    """

    def __init__(self, model: nn.Module) -> None:
        config = resolve_model_data_config(model)
        interpolation = config["interpolation"] if config["interpolation"] in _INTERPOLATIONS else "bicubic"
        super().__init__(Preprocessing(config["input_size"][1:], config["mean"], config["std"], interpolation))
        self.model = cast(Any, model)

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        features = self.model.forward_features(images)
        if pooling is None:
            return cast(torch.Tensor, self.model.forward_head(features, pre_logits=True)).flatten(1)
        if features.ndim == 3:
            return pool(features[:, getattr(self.model, "num_prefix_tokens", 0) :].transpose(1, 2), pooling)
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        return pool(features.flatten(2), pooling)


class DetectionNetwork(Network):
    """The first layers of a YOLO network, up to the map with a stride of 16 pixels.

    The default pooling is ``none``: 14 x 14 positions of 128 channels in YOLOv5-nano.
    """

    def __init__(self, whole: nn.Module) -> None:
        # YOLO networks are trained on values from 0 to 1.
        super().__init__(Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
        self.body = nn.Sequential(*cast(Any, whole).model[:_LAYERS_TO_STRIDE_16])
        _fuse_normalisation(self.body)

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        return pool(self.body(images).flatten(2), pooling or Pooling.NONE)


def pool(places: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool features ``(n, channels, positions)`` to ``(n, d)``."""
    match pooling:
        case Pooling.NONE:
            return places.flatten(1)
        case Pooling.AVG:
            return places.mean(2)
        case Pooling.GEM:
            # In float32, because the sum of cubes overflows half precision.
            return places.float().clamp(min=_LEAST).pow(_GEM_POWER).mean(2).pow(1 / _GEM_POWER)


def load_network(backbone: Backbone, path: Path) -> Network:
    """Build the network of a backbone and load its weights from a file.

    Raises:
        BackboneError: If the network does not exist, or the file cannot be loaded or belongs to another network.
        WeightsError: If the detection weights cannot be loaded.
    """
    if backbone.source == "detection":
        return DetectionNetwork(load_detection_network(path)).eval()
    state = load_state(path, backbone.prefix)
    if backbone.source == "torchvision":
        whole = torchvision.models.get_model(backbone.model, weights=None).eval()
        fill(whole, state, path.name, heads=("fc",))
        return ResNet(whole).eval()
    if backbone.url:
        model = timm.create_model(backbone.model, pretrained=False, num_classes=0)
        fill(model, state, path.name, heads=("head",))
        return TimmNetwork(model).eval()
    return TimmNetwork(_fill_timm(backbone, state, path.name)).eval()


def _fill_timm(backbone: Backbone, state: dict[str, torch.Tensor], file: str) -> nn.Module:
    """Return a timm model with weights in any format that timm can convert."""
    if not timm.is_model(backbone.model.split(".")[0]):
        raise BackboneError(f"timm has no model {backbone.model}: choose one of timm.list_models().")
    check_finite(state, file)
    try:
        model: Any = timm.create_model(backbone.model, pretrained=False)
        named = model.pretrained_cfg.get("classifier") or ()
        heads = (named,) if isinstance(named, str) else tuple(named)
        # The classifier is not used, so a file without one, or with other classes, is accepted.
        own = {name: value for name, value in model.state_dict().items() if name.startswith(tuple(heads))}
        source = {"state_dict": drop_head(state, heads) | own, "label_offset": 0}
        return timm.create_model(backbone.model, pretrained=True, pretrained_cfg_overlay=source)
    # timm's converters raise any exception for the weights of another network.
    except Exception as error:
        raise BackboneError(
            f"{file} does not fit timm's {backbone.model} ({name_mismatch(error)}): replace it by the weights of that "
            "model."
        ) from error


def _fuse_normalisation(network: nn.Module) -> None:
    """Fuse each batch normalisation into the convolution before it; the result is the same, a third faster."""
    for module in network.modules():
        for (name, convolution), (after, normalisation) in pairwise(module.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, normalisation))
                setattr(module, after, nn.Identity())
