"""The output folder of a command, and what the settings say about weights and requests.

    OUT/                 results, for people and programs
    OUT/.extractor/      files that a later run reuses, laid out as the data folder of the service (``app/storage``)

A command writes only into a new folder, an empty one, or one that it made before.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from app.config import Settings
from app.detection.weights import ModelStore, Weights, isolate_ultralytics
from app.errors import RequestError
from app.sources.page_files import OWN_FOLDER
from app.storage import Storage, write_atomic

if TYPE_CHECKING:
    from app.detection.detector import Detector
    from app.iiif.fetch import Fetcher

# The program runs for the person at this machine, who may open any address. A service must refuse private ones.
_ANY_ADDRESS = frozenset({"0.0.0.0/0", "::/0"})
# A server on this machine needs no pause between two requests.
_THIS_MACHINE = frozenset({"localhost", "127.0.0.0/8", "::1"})
_LONGEST_NAME = 100


class Workspace:
    """The output folder of a command.

    Attributes:
        folder: Folder for the results.
        settings: Settings of this installation.
        storage: Files that a later run reuses.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.storage = Storage(folder / OWN_FOLDER)

    @cached_property
    def fetcher(self) -> "Fetcher":
        """The HTTP client for libraries' servers, with the limits of the settings."""
        from app.iiif.fetch import Fetcher, FetchPolicy
        from app.iiif.host_limits import HostLimits
        from app.iiif.hosts import KNOWN_HOSTS, HostRule, HostRules
        from app.net.addresses import AddressGuard

        s = self.settings
        trusted = AddressGuard(frozenset(s.trusted_hosts) | _THIS_MACHINE)
        rules = HostRules.load(KNOWN_HOSTS, HostRule(interval_seconds=s.host_interval_seconds), trusted.trusts)
        policy = FetchPolicy(s.user_agent, s.fetch_attempts, s.fetch_timeout_seconds)
        return Fetcher(policy, HostLimits(rules), AddressGuard(_ANY_ADDRESS), ca_bundle=s.ca_bundle)

    def load_detector(self, weights: Weights, size: int) -> "Detector":
        """Load the detector of a weights file.

        Args:
            weights: Weights file.
            size: Longer side of the network's input, in pixels.

        Raises:
            WeightsError: The file cannot be used.
        """
        isolate_ultralytics(self.storage.root / "ultralytics")
        from app.detection.loading import build_config, load_detector

        return load_detector(weights, build_config(self.settings, size), self.storage.trials)

    def name_result(self, source: str, label: str) -> Path:
        """Return the folder for the result of a source. A later run gets the same folder.

        Args:
            source: URL or path of the source.
            label: Label of its document, from which the name of the folder is made.
        """
        path = self.storage.root / "results.json"
        known: dict[str, str] = json.loads(path.read_bytes()) if path.exists() else {}
        if source not in known:
            name = re.sub(r"[^\w.-]+", "_", label)[:_LONGEST_NAME].strip("._") or "document"
            taken = {each.casefold() for each in known.values()}
            names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
            known[source] = next(each for each in names if each.casefold() not in taken)
            write_atomic(path, json.dumps(known).encode())
        return self.folder / known[source]


@contextmanager
def open_workspace(folder: Path) -> Iterator[Workspace]:
    """Open the output folder of a command; create it if needed.

    Raises:
        RequestError: The folder has other files, or another run uses it.
        SettingsError: A setting is malformed.
    """
    settings, own = Settings.load(), folder / OWN_FOLDER
    if folder.exists() and not own.is_dir() and any(folder.iterdir()):
        raise RequestError(f"--out: {folder} has other files; name a new folder, or one with results of this program.")
    own.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(own / ".lock", timeout=0):
            yield Workspace(folder, settings)
    except Timeout as error:
        raise RequestError(
            f"--out: another run writes into {folder}; wait for its end, or name another folder."
        ) from error


def write_result(path: Path, content: bytes) -> None:
    """Write a file into the output folder: complete or not at all, and readable by those whom the umask admits."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def open_models(settings: Settings) -> ModelStore:
    """Return the detection weights of this installation, with the default of the service."""
    return ModelStore(settings.models_folder, settings.default_model, Storage(settings.data_folder).default_model)


def find_weights(settings: Settings, name: str) -> Weights:
    """Return weights by the name of the service, or by the path of a ``.pt`` file; the default for an empty name.

    Raises:
        RequestError: There are no such weights.
    """
    path = Path(name)
    return Weights.at(path) if path.suffix == ".pt" and path.is_file() else open_models(settings).find(name)
