"""The model store: detection weights in ``models/``, found by name and loaded without running what is in them.

A ``.pt`` file is a pickle, and a pickle can run code. What a file holds is looked at first (``permitted``), and one
that holds anything but a network is refused. Then it is loaded by ``torch.load(weights_only=True)`` with an allow list
of model classes (ultralytics' safe loader); the networks of YOLOv5 are built anew (``yolov5``).
"""

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from app.detection.checkpoint import open_checkpoint
from app.detection.permitted import check
from app.errors import RequestError, WeightsError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

import json
import logging
from dataclasses import asdict

from app.storage import write_atomic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DefaultModel:
    """A choice of weights.

    Attributes:
        name: File name of the weights.
        previous: Those chosen before, or else set by ``DEFAULT_MODEL``; None when these are the first.
        since: When they were chosen, in seconds since the epoch; None when they were set by ``DEFAULT_MODEL``.
    """

    name: str
    previous: str | None = None
    since: float | None = None


def load_default(chosen: Path | None, setting: str) -> DefaultModel:
    """Return what was chosen, or else what is set.

    A file that cannot be read counts as none: it is written whole or not at all, so somebody has changed it by hand.
    """
    if chosen is None or not chosen.exists():
        return DefaultModel(setting)
    try:
        choice = DefaultModel(**json.loads(chosen.read_bytes()))
        if not isinstance(choice.name, str) or not isinstance(choice.previous, str | None):
            raise TypeError("a name is no text")
        return DefaultModel(choice.name, choice.previous, float(choice.since or 0))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s says nothing of the default model: %s is used (%r)", chosen, setting, error)
        return DefaultModel(setting)


def save_default(chosen: Path, before: DefaultModel, name: str) -> DefaultModel:
    """Choose weights; to choose those that are used already changes nothing."""
    if before.name.removesuffix(".pt") == name.removesuffix(".pt"):
        return before
    choice = DefaultModel(name, before.name, time.time())
    write_atomic(chosen, json.dumps(asdict(choice)).encode())
    return choice


@dataclass(frozen=True)
class Weights:
    """One weights file.

    Attributes:
        name: Its file name, by which clients ask for it.
        path: Where it lies.
        changed: When the file changed, in seconds since the epoch.
        size: In bytes.
    """

    name: str
    path: Path
    changed: float
    size: int

    @classmethod
    def at(cls, path: Path) -> "Weights":
        """Return the weights of a file that is there."""
        status = path.stat()
        return cls(path.name, path, status.st_mtime, status.st_size)

    @property
    def label(self) -> str:
        """Name and month, as client apps know a version of a model: ``best_eida_04_2024``."""
        return f"{self.path.stem}_{time.strftime('%m_%Y', time.localtime(self.changed))}"

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hexadecimal.

        Raises:
            WeightsError: It cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise WeightsError(f"{self.name} cannot be read: {error.strerror}.") from error


class ModelStore:
    """The detection weights of this installation.

    Args:
        folder: Holds the ``.pt`` files.
        default: File name of the weights used when a request names none, until others are chosen.
        chosen: The file that says which were chosen; None where that is not done.
    """

    def __init__(self, folder: Path, default: str, chosen: Path | None = None) -> None:
        self.folder = folder
        self._default = default
        self._chosen = chosen

    @property
    def default(self) -> DefaultModel:
        """The weights used when a request names none: which, and which before."""
        return load_default(self._chosen, self._default)

    def set_default(self, weights: Weights) -> DefaultModel:
        """Use other weights when a request names none, from now on and in every process; return which."""
        if self._chosen is None:
            raise ValueError("this store keeps no choice")
        return save_default(self._chosen, self.default, weights.name)

    def list_weights(self) -> dict[str, Weights]:
        """Return every weights file by name."""
        found = {}
        for path in sorted(self.folder.glob("*.pt")):
            # A file may be replaced while it is listed, and a link may lead nowhere.
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[path.name] = Weights.at(path)
        return found

    def find(self, name: str = "") -> Weights:
        """Return weights by file name, with or without ``.pt``; the default for an empty name.

        A name is looked up in the listing and never joined to a path. A default that is no longer there is not replaced
        by others: nobody has chosen them.

        Raises:
            RequestError: There are no such weights.
        """
        known, wanted = self.list_weights(), name or self.default.name
        found = known.get(wanted) or known.get(f"{wanted}.pt")
        if found is None:
            there = ", ".join(known) or "none"
            lost = f"model {wanted[:100]!r} is not among the weights of this server: {there}."
            advice = "" if name else " It is the default: name another, or set one with POST /models/<name>/default."
            raise RequestError(lost + advice)
        return found


def load_network(path: Path) -> "BaseModel":
    """Load the network of a checkpoint of ultralytics (YOLOv8, 9, 10, 11, 12, 26, RT-DETR) or YOLOv5, in float32.

    Raises:
        WeightsError: The file is not such a checkpoint, is damaged, or holds anything but a model.
    """
    isolate_ultralytics()
    from app.detection.yolov5 import build_yolov5

    with open_checkpoint(path) as checkpoint:
        check(checkpoint)
        if checkpoint.is_yolov5:
            return build_yolov5(checkpoint)
        content = load_checkpoint(path)
        network: BaseModel = content.get("ema") or content["model"]
        return network.float().eval()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return all that is in a checkpoint of ultralytics.

    Raises:
        Exception: Of any kind; the file is damaged, or not what it says.
    """
    isolate_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    # By its name the loader may take a file for another one, and fetch that: yolov5s.pt, or one with an apostrophe.
    with TemporaryDirectory() as folder:
        plain = Path(folder, "weights.pt")
        plain.symlink_to(path.absolute())
        checkpoint, _ = torch_safe_load(plain, safe_only=True)
    return dict(checkpoint)


def isolate_ultralytics(folder: Path | None = None) -> None:
    """Import ultralytics and keep it from the network, from the user's home and from other packages.

    Off are its usage reports, its downloads of weights and fonts, its installing of packages, and its replacement of
    ``PIL.Image.open``, which asks for one more package whenever a file is not an image. Its settings go to ``folder``,
    and so does what matplotlib, with which it draws, would keep in the user's home.
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
        os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))

    import PIL.Image
    from ultralytics.utils import callbacks, patches

    PIL.Image.open = patches._image_open
    callbacks.add_integration_callbacks = lambda instance: None
