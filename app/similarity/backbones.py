"""The backbones: networks that turn an image into an embedding, each with its published weights.

This module does not import torch, because the web process uses it to validate names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.errors import RequestError


class Pooling(StrEnum):
    """Pooling of the feature map ``(channels, rows, columns)``, or of the patch tokens of a transformer.

    Attributes:
        NONE: No pooling: the embedding keeps every feature at its position. Best for prints of the same plate, worst
            for illustrations that are shifted.
        AVG: Mean over all positions.
        GEM: Generalised mean with p = 3 (Radenović et al., Fine-tuning CNN image retrieval, 2018). It is closer to the
            maximum, so strong features count more.
    """

    NONE = "none"
    AVG = "avg"
    GEM = "gem"


@dataclass(frozen=True)
class Backbone:
    """A network and its weights file.

    Attributes:
        name: Name that client apps send as ``model``.
        architecture: Kind of network and its name, such as ``torchvision:resnet34``; ``networks.py`` lists the kinds.
        url: Address of the published weights; "" if they must be installed by hand.
        checksum: ``md5:`` or ``sha256:`` and the first digits of the file's digest. Without it, the weights are not
            downloaded: the operator puts them in place.
        file: Name of the weights file; "" for the name of the backbone with ``.safetensors`` or ``.pth``.
        input_size: Side of the square input, in pixels.
    """

    name: str
    architecture: str
    url: str = ""
    checksum: str = ""
    file: str = ""
    input_size: int = 224

    @property
    def source(self) -> str:
        """Kind of network: ``torchvision``, ``dino``, ``timm``, ``clip``, ``watermarks``, ``sscd`` or ``detection``."""
        return self.architecture.partition(":")[0]

    @property
    def model(self) -> str:
        """Name of the network in its library, or of the detection weights."""
        return self.architecture.partition(":")[2]


# Version of the preprocessing; change it when embeddings change, so that cached embeddings are recomputed.
PREPROCESSING = "squash-2"

_FACEBOOK = "https://dl.fbaipublicfiles.com"
_HUB = "https://huggingface.co"
_WATERMARKS = f"{_HUB}/seglinglin/Historical-Document-Backbone/resolve/main/resnet18_watermarks.pth"
_PUBLISHED = (
    Backbone(
        "resnet34",
        "torchvision:resnet34",
        "https://download.pytorch.org/models/resnet34-b627a593.pth",
        "sha256:b627a593",
    ),
    # The original service downloaded moco_v2_200ep_pretrain.pth.tar under this name: 200 epochs instead of 800.
    Backbone(
        "moco_v2_800ep_pretrain",
        "torchvision:resnet50",
        f"{_FACEBOOK}/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
        "md5:a04e12f8",
    ),
    # The authors of DINO publish no checksums. Open Metric Learning checks the same digits.
    Backbone(
        "dino_deitsmall16_pretrain",
        "dino:vit_small_patch16_224.dino",
        f"{_FACEBOOK}/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
        "md5:cf0f22",
    ),
    Backbone(
        "dino_vitbase8_pretrain",
        "dino:vit_base_patch8_224.dino",
        f"{_FACEBOOK}/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth",
        "md5:556550",
    ),
    # The authors of SSCD and DINOv2 publish no checksums either. Many projects that use the files state these.
    Backbone(
        "sscd_disc_mixup",
        "sscd:sscd_disc_mixup",
        f"{_FACEBOOK}/sscd-copy-detection/sscd_disc_mixup.torchscript.pt",
        "sha256:9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56",
        file="sscd_disc_mixup.torchscript.pt",
        input_size=320,
    ),
)
# The further names that the AIKON front end offers, with the networks and the weights that AIKON uses.
_AIKON = (
    Backbone(
        "dinov2_vitb14",
        "timm:vit_base_patch14_dinov2.lvd142m",
        f"{_FACEBOOK}/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        "sha256:0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    ),
    Backbone(
        "clip_vitb32",
        "clip:vit_base_patch32_clip_224.laion2b",
        f"{_HUB}/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/open_clip_model.safetensors",
        file="clip_vitb32.safetensors",
    ),
    Backbone(
        "resnet50",
        "torchvision:resnet50",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "sha256:0676ba61",
    ),
    Backbone(
        "resnet18_watermarks",
        "watermarks:layer4",
        _WATERMARKS,
        file="resnet18_watermarks.pth",
        input_size=320,
    ),
    Backbone(
        "resnet18_watermarks_conv4",
        "watermarks:layer3",
        _WATERMARKS,
        file="resnet18_watermarks.pth",
        input_size=320,
    ),
)
# This backbone needs no download. Its network was trained to detect illustrations, not to compare them. It recognises
# prints of the same block. To find illustrations that are only similar, use a published backbone. It has a file of its
# own, so that new detection weights do not change embeddings.
_INCLUDED = (Backbone("illustrations", "detection:illustrations"),)
BACKBONES: Mapping[str, Backbone] = {backbone.name: backbone for backbone in (*_PUBLISHED, *_AIKON, *_INCLUDED)}
DEFAULT_BACKBONE = "moco_v2_800ep_pretrain"

# Few timm models have a larger input.
_TIMM_INPUT = 518
# Format of timm model names; paths, addresses and repositories are not accepted.
_TIMM_NAME = re.compile(r"timm:[a-z0-9_]{1,80}(\.[a-z0-9_]{1,80})?")


def find_shortest(name: str) -> int:
    """Return the length that the shorter side of an image must have for a backbone, in pixels.

    It is larger than the input of the network, so images are scaled down and never up.
    """
    return round(1.25 * find_backbone(name).input_size)


def find_backbone(name: str) -> Backbone:
    """Return a backbone by name, or any timm model by ``timm:<model name>``, without checking that it exists.

    Raises:
        RequestError: If the name is neither a backbone nor of the form ``timm:<model name>``.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if _TIMM_NAME.fullmatch(name):
        return Backbone(name, name, input_size=_TIMM_INPUT)
    known = ", ".join(BACKBONES)
    raise RequestError(f"model {name[:100]!r} is not among the backbones: {known}, or timm:<model name>.")


def check_pooling(name: str, pooling: str) -> None:
    """Check that a backbone has features to pool.

    Raises:
        RequestError: The weights contain their own pooling.
    """
    if pooling and find_backbone(name).source == "sscd":
        raise RequestError(f"pooling: {name} has a single embedding for each image; leave the field empty.")
