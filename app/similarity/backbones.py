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
        architecture: Library and model name, ``torchvision:…``, ``timm:…`` or ``detection:…``. The last one names
            detection weights in ``models/``, whose first layers are the network.
        url: Address of the published weights; "" if they must be installed by hand.
        checksum: ``md5:`` or ``sha256:`` and the first digits of the file's digest; "" if none is published.
        prefix: Prefix of the parameter names in the file; parameters without it belong to other networks.
    """

    name: str
    architecture: str
    url: str = ""
    checksum: str = ""
    prefix: str = ""

    @property
    def input_size(self) -> int:
        """Side of the square input, in pixels; for any other timm model, a size that few models exceed."""
        return 224 if self.name in BACKBONES else 518

    @property
    def source(self) -> str:
        """Source of the network: ``torchvision``, ``timm`` or ``detection``."""
        return self.architecture.partition(":")[0]

    @property
    def model(self) -> str:
        """Name of the network in its library, or of the detection weights."""
        return self.architecture.partition(":")[2]


# Version of the preprocessing; change it when embeddings change, so that cached embeddings are recomputed.
PREPROCESSING = "squash-2"

_FACEBOOK = "https://dl.fbaipublicfiles.com"
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
        prefix="module.encoder_q.",
    ),
    # The authors of DINO publish no checksums. Open Metric Learning checks the same digits.
    Backbone(
        "dino_deitsmall16_pretrain",
        "timm:vit_small_patch16_224.dino",
        f"{_FACEBOOK}/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
        "md5:cf0f22",
    ),
    Backbone(
        "dino_vitbase8_pretrain",
        "timm:vit_base_patch8_224.dino",
        f"{_FACEBOOK}/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth",
        "md5:556550",
    ),
)
# This backbone needs no download. Its network was trained to detect illustrations, not to compare them. It recognises
# prints of the same block. To find illustrations that are only similar, use a published backbone.
_INCLUDED = (Backbone("illustrations", "detection:illustrations"),)
BACKBONES: Mapping[str, Backbone] = {backbone.name: backbone for backbone in (*_PUBLISHED, *_INCLUDED)}
DEFAULT_BACKBONE = "moco_v2_800ep_pretrain"

# Format of timm model names; paths, addresses and repositories are not accepted.
_TIMM_NAME = re.compile(r"timm:[a-z0-9_]{1,80}(\.[a-z0-9_]{1,80})?")


def find_backbone(name: str) -> Backbone:
    """Return a backbone by name, or any timm model by ``timm:<model name>``, without checking that it exists.

    Raises:
        RequestError: If the name is neither a backbone nor of the form ``timm:<model name>``.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if _TIMM_NAME.fullmatch(name):
        return Backbone(name, name)
    known = ", ".join(BACKBONES)
    raise RequestError(f"model {name[:100]!r} is not among the backbones: {known}, or timm:<model name>.")
