"""The model store: detection weights in ``models/``, found by name and loaded without running what is in them.

A ``.pt`` file is a pickle, and a pickle can run code. Weights are loaded by ``torch.load(weights_only=True)`` with an
allow list of model classes (ultralytics' safe loader), those of YOLOv5 by ``yolov5.py``, which runs nothing at all: a
file with anything else in it is refused.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from app.errors import RequestError, WeightsError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel


@dataclass(frozen=True)
class Weights:
    """One weights file.

    Attributes:
        name: Its file name, by which clients ask for it.
        path: Where it lies.
        changed: When the file changed, in seconds since the epoch.
    """

    name: str
    path: Path
    changed: float

    @property
    def label(self) -> str:
        """Name and month, as client apps know a version of a model: ``best_eida_04_2024``."""
        return f"{self.path.stem}_{time.strftime('%m_%Y', time.localtime(self.changed))}"


class ModelStore:
    """The detection weights of this installation.

    Args:
        folder: Holds the ``.pt`` files.
        default: File name of the weights used when a request names none.
    """

    def __init__(self, folder: Path, default: str) -> None:
        self.folder = folder
        self.default = default

    def list_weights(self) -> dict[str, Weights]:
        """Return every weights file by name."""
        found = {}
        for path in sorted(self.folder.glob("*.pt")):
            # A file may be replaced while it is listed, and a link may lead nowhere.
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[path.name] = Weights(path.name, path, path.stat().st_mtime)
        return found

    def find(self, name: str = "") -> Weights:
        """Return weights by file name, with or without ``.pt``; the default for an empty name.

        A name is looked up in the listing and never joined to a path.

        Raises:
            RequestError: There are no such weights.
        """
        known, wanted = self.list_weights(), name or self.default
        found = known.get(wanted) or known.get(f"{wanted}.pt")
        if found is None:
            there = ", ".join(known) or "none"
            raise RequestError(f"model {wanted[:100]!r} is not among the weights of this server: {there}.")
        return found


def load_network(path: Path) -> "BaseModel":
    """Load the network of a checkpoint of ultralytics (YOLOv8, 9, 10, 11, 12, 26, RT-DETR) or YOLOv5, in float32.

    Raises:
        WeightsError: The file is not such a checkpoint, is damaged, or holds anything but a model.
    """
    isolate_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

    from app.detection.yolov5 import load_yolov5

    advice = "put a detection checkpoint of ultralytics or YOLOv5 in its place"
    try:
        network = load_yolov5(path)
        if network is not None:
            return network
        network = _load_ultralytics(path)
        # Networks for segmentation, poses and the like are subclasses of these.
        if type(network) not in (DetectionModel, RTDETRDetectionModel):
            raise WeightsError(f"{path.name} holds a {type(network).__name__}, which is not for detection: {advice}.")
    except WeightsError:
        raise
    # Whatever is in a file, the loader can raise anything: all of it means the same to the user.
    except Exception as error:
        raise WeightsError(f"{path.name} cannot be loaded safely: {advice}.") from error
    return network


def _load_ultralytics(path: Path) -> "BaseModel":
    from ultralytics.nn.tasks import torch_safe_load

    # By its name the loader may take a file for another one, and fetch that: yolov5s.pt, or one with an apostrophe.
    with TemporaryDirectory() as folder:
        plain = Path(folder, "weights.pt")
        plain.symlink_to(path.absolute())
        checkpoint, _ = torch_safe_load(plain, safe_only=True)
    network = checkpoint.get("ema") or checkpoint["model"]
    return network.float().eval()


def isolate_ultralytics(folder: Path | None = None) -> None:
    """Import ultralytics and keep it from the network, from the user's home and from other packages.

    Off are its usage reports, its downloads of weights and fonts, its installing of packages, and its replacement of
    ``PIL.Image.open``, which asks for one more package whenever a file is not an image. Its settings go to ``folder``.
    Off is also what it tells of a training to Comet, ClearML, MLflow, DVC, Weights & Biases, its own platform and such,
    whenever their package is installed.
    """
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))

    import PIL.Image
    from ultralytics.utils import callbacks, patches

    PIL.Image.open = patches._image_open
    callbacks.add_integration_callbacks = lambda instance: None
