"""The model store: detection weights in ``models/``, found by name and loaded safely.

A ``.pt`` file is a pickle, and a pickle can run code. ``weights_files`` therefore parses the pickle without running
it, checks it against an allow list, and builds the network from what it has parsed.
"""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from app.detection.weights_files.checkpoint import open_checkpoint
from app.detection.weights_files.permitted import check
from app.errors import RequestError, WeightsError
from app.storage import write_atomic

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DefaultModel:
    """The default weights, set by ``DEFAULT_MODEL`` or chosen at run time.

    Attributes:
        name: File name of the weights.
        previous: File name of the previous default; None if there was none.
        since: Time of the choice, in seconds since the Unix epoch; None if ``DEFAULT_MODEL`` applies.
    """

    name: str
    previous: str | None = None
    since: float | None = None


def load_default(chosen: Path, setting: str) -> DefaultModel:
    """Return the stored choice, or the setting if there is none.

    An unreadable file is ignored with a warning. It is written atomically, so it was edited by hand.
    """
    if not chosen.exists():
        return DefaultModel(setting)
    try:
        choice = DefaultModel(**json.loads(chosen.read_bytes()))
        if not isinstance(choice.name, str) or not isinstance(choice.previous, str | None):
            raise TypeError("a name is not a string")
        return DefaultModel(choice.name, choice.previous, float(choice.since or 0))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read: the default model is %s (%r)", chosen, setting, error)
        return DefaultModel(setting)


def save_default(chosen: Path, before: DefaultModel, name: str) -> DefaultModel:
    """Store the choice of default weights; do nothing if they already are the default."""
    if before.name.removesuffix(".pt") == name.removesuffix(".pt"):
        return before
    choice = DefaultModel(name, before.name, time.time())
    write_atomic(chosen, json.dumps(asdict(choice)).encode())
    return choice


@dataclass(frozen=True)
class Weights:
    """One weights file.

    Attributes:
        name: File name, which client apps send as ``model``.
        path: Path of the file.
        changed: Modification time, in seconds since the Unix epoch.
        size: File size in bytes.
    """

    name: str
    path: Path
    changed: float
    size: int

    @classmethod
    def at(cls, path: Path) -> "Weights":
        """Return the weights of an existing file."""
        status = path.stat()
        return cls(path.name, path, status.st_mtime, status.st_size)

    @property
    def label(self) -> str:
        """Name with month and year, such as ``best_eida_04_2024``; client apps use it as the version of a model."""
        return f"{self.path.stem}_{time.strftime('%m_%Y', time.localtime(self.changed))}"

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hexadecimal.

        Raises:
            WeightsError: If the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise WeightsError(f"{self.name} cannot be read: {error.strerror}.") from error


class ModelStore:
    """The detection weights of this installation.

    Args:
        folder: Folder with the ``.pt`` files.
        default: File name of the default weights, unless others were chosen.
        chosen: File that stores the chosen default.
    """

    def __init__(self, folder: Path, default: str, chosen: Path) -> None:
        self.folder = folder
        self._default = default
        self._chosen = chosen

    @property
    def default(self) -> DefaultModel:
        """The weights for requests without ``model``, and the previous ones."""
        return load_default(self._chosen, self._default)

    def set_default(self, weights: Weights) -> DefaultModel:
        """Change the default weights for all processes; return the new default."""
        return save_default(self._chosen, self.default, weights.name)

    def list_weights(self) -> dict[str, Weights]:
        """Return every weights file by name."""
        found = {}
        for path in sorted(self.folder.glob("*.pt")):
            # A file may be removed during the listing, and a symbolic link may be broken.
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[path.name] = Weights.at(path)
        return found

    def find(self, name: str = "") -> Weights:
        """Return weights by file name, with or without ``.pt``; the default for an empty name.

        The name is looked up in the listing and never joined to a path. If the default weights are missing, no other
        weights are substituted.

        Raises:
            RequestError: If there are no such weights.
        """
        known, wanted = self.list_weights(), name or self.default.name
        found = known.get(wanted) or known.get(f"{wanted}.pt")
        if found is None:
            there = ", ".join(known) or "none"
            missing = f"model {wanted[:100]!r} is not among the weights of this server: {there}."
            advice = "" if name else " It is the default: name another, or set one with POST /models/<name>/default."
            raise RequestError(missing + advice)
        return found


def load_network(path: Path) -> "BaseModel":
    """Load the network of a checkpoint of ultralytics (YOLOv8, 9, 10, 11, 12, 26, RT-DETR) or YOLOv5, in float32.

    Raises:
        WeightsError: If the file is not such a checkpoint, is damaged, or is not permitted.
    """
    isolate_ultralytics()
    from app.detection.weights_files.networks import build_ultralytics
    from app.detection.weights_files.yolov5 import build_yolov5

    with open_checkpoint(path) as checkpoint:
        check(checkpoint)
        return build_yolov5(checkpoint) if checkpoint.is_yolov5 else build_ultralytics(checkpoint)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of the installed ultralytics, with its network and the state of its training.

    Raises:
        Exception: Any exception, if the file is damaged or inconsistent.
    """
    isolate_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    # The loader downloads files with some names, such as yolov5s.pt, and mangles others, such as names with an
    # apostrophe. A link with a neutral name avoids both.
    with TemporaryDirectory() as folder:
        plain = Path(folder, "weights.pt")
        plain.symlink_to(path.absolute())
        checkpoint, _ = torch_safe_load(plain, safe_only=True)
    return dict(checkpoint)


def isolate_ultralytics(folder: Path | None = None) -> None:
    """Import ultralytics without access to the network, the user's home and other packages.

    This turns off:

    - usage reports, downloads of weights and fonts, and installation of packages;
    - its replacement of ``PIL.Image.open``, which requires another package for files that are not images;
    - its reports of trainings to Comet, ClearML, MLflow, DVC, Weights & Biases and its own platform. They start
      whenever the package of the service is installed.

    Args:
        folder: Folder for the settings of ultralytics and matplotlib, instead of the user's home.
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
