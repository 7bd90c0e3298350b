"""Names of files that are not checkpoints of torch: exports, unfinished downloads, pages of web sites."""

import zipfile
from io import FileIO
from pathlib import Path, PurePosixPath

_READ = 4096
# The central directory of a checkpoint has 0.5 MB; its parsed entries take ten times as much memory.
_LARGEST_READ = 4_000_000
_EXPORTED = "copy the .pt file from which it was exported"
_AGAIN = "download or copy the file again"
_UNPACK = "unpack it and copy the .pt file in it"
_RESAVE = "load it with torch and save it again with torch.save"

# First bytes, what the file is, and what to do.
_BEGINNINGS = [
    (b"version https://git-lfs", "is a Git LFS pointer instead of the file", "run `git lfs pull` where it comes from"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "was saved by torch before 1.6, or in its old format", _RESAVE),
    (b"\x1f\x8b", "is packed with gzip", _UNPACK),
    (b"BZh", "is packed with bzip2", _UNPACK),
    (b"\xfd7zXZ", "is packed with xz", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", _UNPACK),
    (b"Rar!", "is a RAR archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd", _UNPACK),
    (b"\x89HDF", "is an HDF5 file, as Keras writes", "train a detection network of ultralytics"),
    (b"\x93NUMPY", "is a NumPy array", "copy the checkpoint of a detection network"),
    (b"\x89PNG", "is an image", "copy the checkpoint of a detection network"),
    (b"\xff\xd8\xff", "is an image", "copy the checkpoint of a detection network"),
    (b"%PDF", "is a PDF file", "copy the checkpoint of a detection network"),
]


class BoundedFile(FileIO):
    """A file with limited reads; a larger central directory is cut off, and the archive counts as damaged."""

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
        return super().read(_LARGEST_READ if size is None or size < 0 else min(size, _LARGEST_READ))


def explain_file(path: Path) -> str:
    """Return why a file is not a checkpoint and what to do, as the rest of a sentence; "" if that is unknown."""
    with path.open("rb") as file:
        start = file.read(_READ)
    if not start.strip(b"\0"):
        return f"{'contains only zero bytes' if start else 'is empty'}: {_AGAIN}"
    for beginning, what, advice in _BEGINNINGS:
        if start.startswith(beginning):
            return f"{what}: {advice}"
    if start.startswith(b"PK\x03\x04"):
        return _explain_archive(path)
    if start[257:262] == b"ustar":
        return f"is a tar archive: {_UNPACK}"
    if (start[8:9] == b"{" and b'"dtype"' in start) or start[8:24] == b'{"__metadata__":':
        return "is a safetensors file, which has parameters but no network: copy the .pt file of the training"
    if start[4:8] == b"TFL3":
        return f"is a TensorFlow Lite network: {_EXPORTED}"
    if start[4:8] == b"ftrt" or (b'"stride"' in start[:600] and start[4:5] == b"{"):
        return f"is a TensorRT engine: {_EXPORTED}"
    if start[:1] == b"\x08" and b"\x12" in start[1:4]:
        return f"is an ONNX network: {_EXPORTED}"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return f"is a pickle that was not written by torch.save: {_RESAVE}"
    return _explain_text(start)


def _explain_text(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return f"is an HTML page, such as the answer of a web site that asks for a login: {_AGAIN}"
    if text.startswith(b"<?xml"):
        return f"is an XML file, as exports for OpenVINO have: {_EXPORTED}"
    if b"\0" in start:
        return ""
    try:
        start[: start.rfind(b"\n") + 1 or None].decode()
    except UnicodeDecodeError:
        return ""
    return f"is a text file: {_AGAIN}"


def _explain_archive(path: Path) -> str:
    """Explain a zip archive, as torch writes, that is not a checkpoint."""
    try:
        with BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except Exception:  # noqa: BLE001  a malformed archive can raise any exception
        return f"is incomplete or damaged, as after an interrupted download: {_AGAIN}"
    names = [entry.filename for entry in entries]
    inner = next((name for name in names if name.endswith((".pt", ".pth", ".ckpt", ".pkl", ".onnx"))), "")
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return f"is a TorchScript network: {_EXPORTED}"
    if any(name.endswith(("archive_format", "/models/model.json")) for name in names):
        return f"is a network of torch.export: {_EXPORTED}"
    if names and all(name.endswith(".npy") for name in names):
        return "is a file of NumPy arrays: copy the checkpoint of a detection network"
    if inner and not inner.endswith("/data.pkl"):
        shown = "".join(letter for letter in PurePosixPath(inner).name if letter.isprintable())
        return f"is a zip archive with {shown[:100]} in it: {_UNPACK}"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return f"was compressed after torch wrote it: {_AGAIN}" if inner else "is a zip archive: " + _UNPACK
    return ""
