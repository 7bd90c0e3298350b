"""The weights files of backbones: found by name, downloaded when they are published and absent."""

import hashlib
from functools import lru_cache
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from app.errors import BackboneError
from app.similarity.backbones import PREPROCESSING, Backbone, Pooling
from app.storage import open_atomic

_SUFFIXES = (".safetensors", ".pth")
_CHUNK = 1 << 20
# For the connection, and without a byte.
_SECONDS = (10.0, 60.0)
_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")


def fetch_weights(backbone: Backbone, folder: Path) -> Path:
    """Return the weights file of a backbone; one that is published and absent is downloaded first.

    Processes that want the same file wait for the one that downloads it.

    Raises:
        BackboneError: It is not there, and did not come whole.
    """
    found = _look_for(backbone, folder)
    if found is None and backbone.url:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{_name_file(backbone)}.lock"):
            found = _look_for(backbone, folder)
            if found is None:
                found = folder / f"{_name_file(backbone)}.pth"
                _download(backbone, found)
    return found or find_weights(backbone, folder)


def find_weights(backbone: Backbone, folder: Path) -> Path:
    """Return the weights file of a backbone: one of the folder, or for a model of timm of the Hugging Face cache.

    Raises:
        BackboneError: It is not there.
    """
    found = _look_for(backbone, folder)
    if found is None:
        raise BackboneError(f"The weights of {backbone.name} are not on this server: {_advise(backbone, folder)}.")
    return found


def identify(backbone: Backbone, pooling: Pooling | None, folder: Path) -> str:
    """Return a text that names all that an embedding depends on; it changes when the weights file does.

    Raises:
        BackboneError: The weights are not there.
    """
    digest = compute_digest(find_weights(backbone, folder))
    return f"{backbone.name} {digest} {pooling or 'own'} {PREPROCESSING}"


def _look_for(backbone: Backbone, folder: Path) -> Path | None:
    if backbone.source == "detection":
        path = folder.parent / f"{backbone.model}.pt"
        return path if path.is_file() else None
    for suffix in _SUFFIXES:
        path = folder / f"{_name_file(backbone)}{suffix}"
        if path.is_file():
            return path
    return _look_in_hub_cache(backbone) if not backbone.url else None


def _look_in_hub_cache(backbone: Backbone) -> Path | None:
    """Return the file of a model of timm from the cache of the Hugging Face hub, without asking the hub."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    try:
        config = timm.get_pretrained_cfg(backbone.model)
    except (RuntimeError, KeyError):  # no such model: said when it is loaded
        return None
    if config is None or not config.hf_hub_id:
        return None
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
    found = (try_to_load_from_cache(config.hf_hub_id.split("@")[0], name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _name_file(backbone: Backbone) -> str:
    # The form of names is checked when backbones are found; a colon is no part of a file name everywhere.
    return backbone.name.replace(":", "-")


def _advise(backbone: Backbone, folder: Path) -> str:
    if backbone.source == "detection":
        return f"put them there as {folder.parent.name}/{backbone.model}.pt"
    shown = Path(*folder.parts[-2:], _name_file(backbone))
    if backbone.url:
        return f"put {backbone.url} there as {shown}.pth"
    return f"put them there as {shown}.safetensors or {shown}.pth"


def _download(backbone: Backbone, path: Path) -> None:
    try:
        with requests.get(backbone.url, stream=True, timeout=_SECONDS) as answer, open_atomic(path) as file:
            answer.raise_for_status()
            digest = hashlib.new(backbone.checksum.partition(":")[0] or "sha256", usedforsecurity=False)
            size = int(answer.headers.get("Content-Length", 0)) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc=backbone.name, mininterval=2) as bar:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
            if not digest.hexdigest().startswith(backbone.checksum.partition(":")[2]):
                raise BackboneError(
                    f"{backbone.url} sent another file than was published (its digest begins with "
                    f"{digest.hexdigest()[:8]}): {_advise(backbone, path.parent)}."
                )
    except (requests.RequestException, OSError) as error:
        reason = _name_reason(error)
        raise BackboneError(
            f"The weights of {backbone.name} are not on this server and could not be downloaded ({reason}): "
            f"{_advise(backbone, path.parent)}."
        ) from error


def _name_reason(error: Exception) -> str:
    match error:
        case requests.HTTPError():
            return f"HTTP {error.response.status_code}"
        case requests.Timeout():
            return "no answer in time"
        case requests.exceptions.ChunkedEncodingError():
            return "the connection broke off"
        case requests.ConnectionError():
            return "no connection"
        case requests.RequestException():
            return type(error).__name__
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else type(error).__name__


def compute_digest(path: Path) -> str:
    """Return the digest of a file, computed again only when the file changes."""
    status = path.stat()
    return _compute_digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _compute_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
