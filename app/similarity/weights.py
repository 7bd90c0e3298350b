"""The weights files of backbones: found by name, downloaded when they are published and absent."""

import hashlib
from functools import lru_cache
from pathlib import Path

from app.errors import BackboneError
from app.similarity.backbones import Backbone

_SUFFIXES = (".safetensors", ".pth")


def find_weights(backbone: Backbone, folder: Path) -> Path:
    """Return the weights file of a backbone.

    Raises:
        BackboneError: It is not there.
    """
    name = backbone.name.replace(":", "-")
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise BackboneError(f"the weights of {backbone.name} are not here: put them in models/backbones/{name}.pth.")


def compute_digest(path: Path) -> str:
    """Return the digest of a file, computed again only when the file changes."""
    status = path.stat()
    return _compute_digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _compute_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
