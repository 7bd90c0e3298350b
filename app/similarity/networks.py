"""The networks of backbones: built, and loaded with their weights.

The kind of network is the first part of a backbone's ``architecture``:

    torchvision  a torchvision ResNet up to ``layer3``
    dino         a timm transformer, in the checkpoint format of DINO
    timm         a timm network, in any format that timm can convert
    clip         the same, with the projection into the space that images and texts share
    watermarks   a ResNet-18 for watermarks, up to the named layer
    sscd         a TorchScript file that computes the embedding by itself
    detection    the first layers of detection weights
"""

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
from app.similarity.backbone_checkpoints import State, check_finite, drop_head, fill, load_state, name_mismatch, unwrap
from app.similarity.backbones import Backbone, Pooling
from app.similarity.preprocessing import Preprocessing
from app.similarity.torchscript import load_script

_GEM_POWER = 3.0
_LEAST = 1e-6
# In YOLOv5, YOLOv8 and YOLO11, each of these layers reads the one before it.
_LAYERS_TO_STRIDE_16 = 7
_INTERPOLATIONS = ("bilinear", "bicubic")
# Mean and standard deviation of the RGB channels with which AIKON uses its network for watermarks.
_WATERMARKS = (0.75, 0.70, 0.65), (0.14, 0.15, 0.16)


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
    """A torchvision ResNet up to one of its layers, by default ``layer3``, which the ResNet paper calls conv4.

    Args:
        whole: The ResNet.
        last: Name of the last layer.
        pooling: The default pooling. ``none``: 14 x 14 positions of 256 (ResNet-34) or 1024 (ResNet-50) channels.
        preprocessing: Preprocessing of the input images.
    """

    def __init__(
        self,
        whole: nn.Module,
        last: str = "layer3",
        pooling: Pooling = Pooling.NONE,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing or Preprocessing())
        self.pooling = pooling
        self.body = nn.Sequential()
        for name, module in whole.named_children():
            self.body.add_module(name, module)
            if name == last:
                break
        _fuse_normalisation(self.body)

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        return pool(self.body(images).flatten(2), pooling or self.pooling)


class TimmNetwork(Network):
    """A timm network. By default, the features are the input of its classifier; for DINO, the class token.

    With a pooling, the features are the patch tokens of a transformer, without class token and registers, or the last
    feature map of other networks.

    Args:
        model: The timm network.
        projected: Whether the features are by default the output of the last layer, as for CLIP.
    """

    def __init__(self, model: nn.Module, projected: bool = False) -> None:
        # A transformer may have been built for a smaller input than the published one.
        built = getattr(getattr(model, "patch_embed", None), "img_size", None)
        config = resolve_model_data_config(model, {"input_size": (3, *built)} if built else {})
        interpolation = config["interpolation"] if config["interpolation"] in _INTERPOLATIONS else "bicubic"
        super().__init__(Preprocessing(config["input_size"][1:], config["mean"], config["std"], interpolation))
        self.model = cast(Any, model)
        self.projected = projected

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        features = self.model.forward_features(images)
        if pooling is None:
            return cast(torch.Tensor, self.model.forward_head(features, pre_logits=not self.projected)).flatten(1)
        if features.ndim == 3:
            return pool(features[:, getattr(self.model, "num_prefix_tokens", 0) :].transpose(1, 2), pooling)
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        return pool(features.flatten(2), pooling)


class ScriptedNetwork(Network):
    """A TorchScript module that turns images into embeddings. Its features cannot be pooled in another way."""

    def __init__(self, script: nn.Module, name: str, size: int) -> None:
        super().__init__(Preprocessing((size, size)))
        self.script, self.name = script, name

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        if pooling is not None:
            raise BackboneError(f"{self.name} has a single embedding for each image: leave `pooling` empty.")
        return cast(torch.Tensor, self.script(images))


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
    if backbone.source == "sscd":
        return ScriptedNetwork(load_script(path, backbone.checksum), backbone.name, backbone.input_size).eval()
    state = load_state(path)
    match backbone.source:
        case "torchvision":
            return ResNet(_fill_resnet(backbone.model, state, path.name)).eval()
        case "watermarks":
            preprocessing = Preprocessing((backbone.input_size,) * 2, *_WATERMARKS)
            whole = _fill_resnet("resnet18", state, path.name)
            return ResNet(whole, backbone.model, Pooling.AVG, preprocessing).eval()
        case "dino":
            model = timm.create_model(backbone.model, pretrained=False, num_classes=0)
            fill(model, state, path.name, heads=("head",))
            return TimmNetwork(model).eval()
        case "clip":
            return TimmNetwork(_fill_timm(backbone, state, path.name, keep_head=True), projected=True).eval()
        case _:
            return TimmNetwork(_fill_timm(backbone, state, path.name)).eval()


def _fill_resnet(name: str, state: State, file: str) -> nn.Module:
    whole = torchvision.models.get_model(name, weights=None).eval()
    fill(whole, state, file, heads=("fc",))
    return whole


def _fill_timm(backbone: Backbone, state: State, file: str, keep_head: bool = False) -> nn.Module:
    """Return a timm model with weights in any format that timm can convert."""
    if not timm.is_model(backbone.model.split(".")[0]):
        raise BackboneError(f"timm has no model {backbone.model}: choose one of timm.list_models().")
    # A transformer of the table is built for its input size there; any other model for its own.
    options: Any = {"img_size": backbone.input_size} if backbone.url else {}
    try:
        model: Any = timm.create_model(backbone.model, pretrained=False, **options)
        state = unwrap(state, model.state_dict())
        check_finite(state, file)
        if not keep_head:
            named = model.pretrained_cfg.get("classifier") or ()
            heads = (named,) if isinstance(named, str) else tuple(named)
            # The classifier is not used, so a file without one, or with other classes, is accepted.
            own = {name: value for name, value in model.state_dict().items() if name.startswith(tuple(heads))}
            state = drop_head(state, heads) | own
        source = {"state_dict": state, "label_offset": 0}
        return timm.create_model(backbone.model, pretrained=True, pretrained_cfg_overlay=source, **options)
    except BackboneError:
        raise
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
