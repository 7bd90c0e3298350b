"""The backbones: networks that turn an image into numbers, each with its published weights.

No torch here: the web process checks names with this module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.errors import RequestError


class Pooling(StrEnum):
    """What becomes of the feature map ``(channels, rows, columns)``, or of the patch tokens of a transformer.

    Attributes:
        NONE: Every number counts, in its place. Says most of two prints of one plate, least of what was moved.
        AVG: The mean over all places.
        GEM: The generalised mean (Radenović et al., Fine-tuning CNN image retrieval, 2018) with p = 3, nearer to the
            maximum: what stands out counts more.
    """

    NONE = "none"
    AVG = "avg"
    GEM = "gem"


@dataclass(frozen=True)
class Backbone:
    """A network and the file of its weights.

    Attributes:
        name: By which clients ask for it.
        architecture: ``torchvision:…``, ``timm:…`` or ``detection:…``. The last one names detection weights in
            ``models/``, whose first layers are the network.
        url: Where its weights are published; "" when they must be put in place by hand.
        checksum: ``md5:`` or ``sha256:`` and the first digits of the digest of that file; "" when nobody published one.
        prefix: What the names of its parameters begin with in the file; others there belong to something else.
    """

    name: str
    architecture: str
    url: str = ""
    checksum: str = ""
    prefix: str = ""

    @property
    def input_size(self) -> int:
        """Side in pixels of the square that it looks at; of a model of timm that is not known here, what few exceed."""
        return 224 if self.name in BACKBONES else 518

    @property
    def source(self) -> str:
        """Source of the network: ``torchvision``, ``timm`` or ``detection``."""
        return self.architecture.partition(":")[0]

    @property
    def model(self) -> str:
        """Name of the network in its library, or of the detection weights."""
        return self.architecture.partition(":")[2]


# Changes whenever the same image would come to other numbers: cached embeddings are then made anew.
PREPROCESSING = "squash-1"

_FACEBOOK = "https://dl.fbaipublicfiles.com"
_PUBLISHED = (
    Backbone(
        "resnet34",
        "torchvision:resnet34",
        "https://download.pytorch.org/models/resnet34-b627a593.pth",
        "sha256:b627a593",
    ),
    # The original fetched moco_v2_200ep_pretrain.pth.tar under this name: the network of 200 epochs, not of 800.
    Backbone(
        "moco_v2_800ep_pretrain",
        "torchvision:resnet50",
        f"{_FACEBOOK}/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
        "md5:a04e12f8",
        prefix="module.encoder_q.",
    ),
    # The authors of DINO publish no checksums; these are the first digits that Open Metric Learning checks.
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
# Needs no download. The network learned to find illustrations, not to compare them. It recognises prints of one block;
# for looser likeness, the published backbones are the better choice.
_INCLUDED = (Backbone("illustrations", "detection:illustrations"),)
BACKBONES: Mapping[str, Backbone] = {backbone.name: backbone for backbone in (*_PUBLISHED, *_INCLUDED)}
DEFAULT_BACKBONE = "moco_v2_800ep_pretrain"

# As timm names its models: no path, no address, no repository.
_TIMM_NAME = re.compile(r"timm:[a-z0-9_]{1,80}(\.[a-z0-9_]{1,80})?")


def find_backbone(name: str) -> Backbone:
    """Return a backbone by name; any model of timm as ``timm:<model name>``, whose existence is not checked here.

    Raises:
        RequestError: The name is none of the backbones', nor has the form of a model of timm.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if _TIMM_NAME.fullmatch(name):
        return Backbone(name, name)
    known = ", ".join(BACKBONES)
    raise RequestError(f"model {name[:100]!r} is not among the backbones: {known}, or timm:<model name>.")
