"""The models that fronts can choose: those that work on this server."""

import time
from pathlib import Path

from app.aikon.answers import FrontModel, FrontModels
from app.detection.weights import ModelStore
from app.detection.weights_description import Descriptions
from app.similarity.backbone_weights import is_available
from app.similarity.backbones import BACKBONES, Backbone

SEGSWAP = "The algorithm segswap uses the verification with local features of this server."


def list_detection_models(models: ModelStore, descriptions: Descriptions) -> FrontModels:
    """Return the detection weights that can be used, by name without ``.pt``."""
    found: FrontModels = {}
    for weights in models.list_weights().values():
        described = descriptions.describe(weights)
        if not described.error:
            name = weights.path.stem
            classes = ", ".join(described.classes.values())
            found[name] = FrontModel(
                name=name, model=name, desc=f"Detects: {classes}.", date=time.ctime(weights.changed)
            )
    return found


def list_backbones(folder: Path) -> FrontModels:
    """Return the backbones whose weights are on this server, or can be downloaded, by name."""
    available = [backbone for backbone in BACKBONES.values() if is_available(backbone, folder)]
    return {each.name: FrontModel(name=each.name, model=each.name, desc=_describe(each)) for each in available}


def _describe(backbone: Backbone) -> str:
    return f"Network {backbone.model}, {backbone.input_size} pixels. {SEGSWAP}"
