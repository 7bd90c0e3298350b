"""The weights files of backbones: found by name, and downloaded if they are published and missing."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from tqdm import tqdm

from app.errors import BackboneError
from app.net.transport import TrustingAdapter, explain_certificate
from app.similarity.backbones import PREPROCESSING, Backbone, Pooling
from app.storage import open_atomic

_CHUNK = 1 << 20
# Timeouts for connecting and for reading, in seconds.
_SECONDS = (10.0, 60.0)
_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")


def fetch_weights(backbone: Backbone, folder: Path, ca_bundle: Path | None = None) -> Path:
    """Return the weights file of a backbone; a published file is downloaded if it is missing.

    A file lock ensures that only one process downloads a file; others wait for it.

    Args:
        backbone: The backbone.
        folder: Folder of the weights files.
        ca_bundle: File with certificate authorities to trust in addition to the public ones.

    Raises:
        BackboneError: If the file is missing, and cannot be downloaded or fails its checksum.
    """
    found = _look_for(backbone, folder)
    if found is None and backbone.checksum:
        folder.mkdir(parents=True, exist_ok=True)
        file = _list_files(backbone)[-1]
        with FileLock(folder / f".{file}.lock"):
            found = _look_for(backbone, folder)
            if found is None:
                found = folder / file
                _download(backbone, found, ca_bundle)
    return found or find_weights(backbone, folder)


def find_weights(backbone: Backbone, folder: Path) -> Path:
    """Return the weights file of a backbone from the folder, or for a timm model from the Hugging Face cache.

    Raises:
        BackboneError: If the file is missing.
    """
    found = _look_for(backbone, folder)
    if found is None:
        raise BackboneError(f"The weights of {backbone.name} are not on this server: {_advise(backbone, folder)}.")
    return found


def is_available(backbone: Backbone, folder: Path) -> bool:
    """Return whether the weights of a backbone are in the folder, or can be downloaded and checked."""
    return bool(backbone.checksum) or _look_in_folder(backbone, folder) is not None


def identify(backbone: Backbone, pooling: Pooling | None, folder: Path) -> str:
    """Return a cache key for embeddings: backbone, digest of its weights file, pooling and preprocessing.

    Raises:
        BackboneError: If the weights are missing.
    """
    digest = compute_digest(find_weights(backbone, folder))
    return f"{backbone.name} {digest} {pooling or 'own'} {PREPROCESSING}"


def _look_for(backbone: Backbone, folder: Path) -> Path | None:
    found = _look_in_folder(backbone, folder)
    return found or (_look_in_hub_cache(backbone) if backbone.source in ("timm", "clip") else None)


def _look_in_folder(backbone: Backbone, folder: Path) -> Path | None:
    names = [f"{backbone.model}.pt"] if backbone.source == "detection" else _list_files(backbone)
    paths = [folder / name for name in names]
    if backbone.source == "detection":  # otherwise the detection weights of that name
        paths += [folder.parent / name for name in names]
    return next((path for path in paths if path.is_file()), None)


def _look_in_hub_cache(backbone: Backbone) -> Path | None:
    """Return the weights file of a timm model from the local Hugging Face cache, without network access."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    try:
        config = timm.get_pretrained_cfg(backbone.model)
    except (RuntimeError, KeyError):  # no such model; loading it raises the error
        return None
    if config is None or not config.hf_hub_id:
        return None
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
    found = (try_to_load_from_cache(config.hf_hub_id.split("@")[0], name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _list_files(backbone: Backbone) -> list[str]:
    """Return the possible names of the weights file, the preferred one first; a download gets the last one."""
    # find_backbone has validated the name. Not all file systems allow a colon.
    stem = backbone.name.replace(":", "-")
    return [backbone.file] if backbone.file else [f"{stem}.safetensors", f"{stem}.pth"]


def _advise(backbone: Backbone, folder: Path) -> str:
    if backbone.source == "detection":
        return f"put them there as {Path(*folder.parts[-2:], backbone.model)}.pt"
    shown = [str(Path(*folder.parts[-2:], file)) for file in _list_files(backbone)]
    return f"download {backbone.url} to {shown[-1]}" if backbone.url else f"save them as {' or '.join(shown)}"


def _download(backbone: Backbone, path: Path, ca_bundle: Path | None) -> None:
    session = requests.Session()  # unlike a GuardedSession, it uses the proxies of the environment
    session.mount("https://", TrustingAdapter(ca_bundle))
    # A path instead of True, because REQUESTS_CA_BUNDLE of the environment would replace the public authorities.
    options: dict[str, Any] = {"stream": True, "timeout": _SECONDS, "verify": DEFAULT_CA_BUNDLE_PATH}
    try:
        with session, session.get(backbone.url, **options) as answer, open_atomic(path) as file:
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
                    f"The file from {backbone.url} does not match its published checksum (its digest starts with "
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
            return "timeout"
        case requests.exceptions.ChunkedEncodingError():
            return "the connection was closed early"
        case requests.exceptions.SSLError():
            return explain_certificate(error) or "no valid TLS connection"
        case requests.ConnectionError():
            return "no connection"
        case requests.RequestException():
            return type(error).__name__
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else type(error).__name__


def compute_digest(path: Path) -> str:
    """Return the first 16 digits of the SHA-256 of a file; cached until the file changes."""
    status = path.stat()
    return _compute_digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _compute_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
