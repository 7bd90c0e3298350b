"""Load a published TorchScript file.

A TorchScript file is a program. It cannot call Python, but its operators can write files (``torch.save``), and an
archive can do so while it is loaded. So only a file with a known digest is loaded: it runs the code that its authors
published, and no other.
"""

import hashlib
import warnings
from pathlib import Path

import torch
from torch import nn

from app.errors import BackboneError


def load_script(path: Path, checksum: str) -> nn.Module:
    """Return the module of a TorchScript file.

    Args:
        path: The file.
        checksum: ``sha256:`` and the whole digest of the published file.

    Raises:
        BackboneError: If the file is another one.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if f"sha256:{digest}" != checksum:
        raise BackboneError(
            f"{path.name} is not the published file: its SHA-256 is {digest} instead of {checksum.partition(':')[2]}; "
            "download it again."
        )
    with warnings.catch_warnings():
        # PyTorch advises another format for new models.
        warnings.simplefilter("ignore", FutureWarning)
        script: nn.Module = torch.jit.load(str(path), map_location="cpu")
    return script
