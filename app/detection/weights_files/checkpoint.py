"""Reading of YOLOv5 and ultralytics checkpoints without torch.

A checkpoint is a zip archive written by ``torch.save``, with a pickle and the data of the tensors. The pickle is parsed
but not run (see ``pickles``), so the web process can describe a file safely. Time and memory are bounded for any file.
``permitted`` decides which checkpoints may be loaded.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from app.detection.weights_files.pickles import LONGEST, Name, Reading, Record, parse_pickle
from app.errors import WeightsError

ADVICE = "replace it by a detection checkpoint of ultralytics or YOLOv5"

# yolov5x6 has 140 million parameters; its training checkpoint, with moving average and optimizer, has 1.2 GB.
LARGEST = 4_000_000_000
_MOST_DIMENSIONS = 16
_PROTOCOL = 2  # the pickle protocol of torch.save
# The central directory of a checkpoint has 0.5 MB; its parsed entries take ten times as much memory.
_LARGEST_READ = 4_000_000

# Bytes per element, by storage type.
NUMBERS = {
    **dict.fromkeys(["torch.ByteStorage", "torch.CharStorage", "torch.BoolStorage"], 1),
    **dict.fromkeys(["torch.HalfStorage", "torch.BFloat16Storage", "torch.ShortStorage"], 2),
    **dict.fromkeys(["torch.FloatStorage", "torch.IntStorage"], 4),
    **dict.fromkeys(["torch.DoubleStorage", "torch.LongStorage"], 8),
}


class Checkpoint:
    """An open checkpoint.

    Args:
        name: File name, for error messages.
        size: Size of the file, in bytes.
        archive: Zip archive written by ``torch.save``.

    Raises:
        ValueError: If the archive does not have the structure that torch writes.
    """

    def __init__(self, name: str, size: int, archive: zipfile.ZipFile) -> None:
        self.name = name
        self.size = size
        self._archive = archive
        entries = archive.infolist()
        # If two entries have the same name, torch might read a different one than this module checks.
        if not entries or len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("no entries, or two entries with the same name")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("an entry is compressed")
        self._folder = entries[0].filename.partition("/")[0]
        if f"{self._folder}/constants.pkl" in archive.namelist():
            raise ValueError("the archive is of TorchScript")
        if archive.getinfo(f"{self._folder}/data.pkl").file_size > LONGEST:
            raise ValueError("the pickle is too large")
        content = self._read("data.pkl")
        if content[:1] == b"\x80" and content[1] > _PROTOCOL:
            advice = "load it with torch and save it again with torch.save"
            raise WeightsError(f"{name} has pickle protocol {content[1]} instead of {_PROTOCOL}: {advice}.")
        self.reading: Reading = parse_pickle(content)

    @property
    def is_yolov5(self) -> bool:
        """Whether it was saved by the YOLOv5 repository."""
        return any(name.startswith("models.yolo.") for name in self.reading.names)

    @property
    def content(self) -> dict[str, Any]:
        """The saved dictionary: the network and the state of its training."""
        content = self.reading.content
        # torch.save(network) saves the network alone.
        return content if isinstance(content, dict) else {"model": content}

    @property
    def network(self) -> Record:
        """The network for detection: the moving average (``ema``) if there is one."""
        record = self.content.get("ema") or self.content.get("model")
        if isinstance(record, Record) and record.kind.endswith(".DataParallel"):
            record = children(record)["module"]
        if not isinstance(record, Record) or find_tensor(record):
            raise WeightsError(f"{self.name} {self._explain_content()}: {ADVICE}.")
        return record

    def _explain_content(self) -> str:
        """Return what a file without a network has instead."""
        tables = [each for each in (self.content, *self.content.values()) if isinstance(each, dict)]
        tables += [each for table in tables for each in table.values() if isinstance(each, dict)]
        if any(find_tensor(value) for table in tables if table.keys() != {"model"} for value in table.values()):
            return "has the parameters of a network (a state dict), but not the network itself"
        if "param_groups" in self.content:
            return "has the state of an optimizer, but no network"
        return "does not contain a network"

    def read_numbers(self, record: Record) -> bytes:
        """Return the bytes of a tensor's storage."""
        return self._read(f"data/{_storage(record)[1]}")

    def count(self, record: Record) -> int:
        """Return the number of elements of a tensor.

        Raises:
            ValueError: If the shape is invalid or exceeds the tensor's storage.
        """
        kind, key = _storage(record)
        there = self._archive.getinfo(f"{self._folder}/data/{key}").file_size // NUMBERS[kind]
        _, offset, size, stride, *_ = record.args
        if len(size) > _MOST_DIMENSIONS or not all(
            type(each) is int and each >= 0 for each in (offset, *size, *stride)
        ):
            raise ValueError("a tensor has an invalid shape")
        furthest = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if 0 not in size and furthest >= there:
            raise ValueError("a tensor exceeds its storage")
        return math.prod(size)

    def _read(self, name: str) -> bytes:
        return self._archive.read(f"{self._folder}/{name}")


def children(record: Record) -> dict[str, Any]:
    """Return the child modules of a module, by name."""
    parts: dict[str, Any] = record.state["_modules"]
    return parts


def read_classes(network: Record) -> dict[int, str]:
    """Return the class names of a network by class id. YOLOv5 up to 6.1 saved them as a list.

    Raises:
        ValueError: If a name is not text.
    """
    names = network.state["names"]
    numbered = dict(names.items() if isinstance(names, dict) else enumerate(names))
    if not all(isinstance(name, (str, int)) for name in numbered.values()):
        raise ValueError("a class name is not text")
    return {int(number): str(name) for number, name in numbered.items()}


def find_tensor(record: Any) -> Record | None:
    """Return the tensor of a tensor or parameter record; None for any other value."""
    if isinstance(record, Record) and record.kind.startswith("torch._utils._rebuild_parameter"):
        record = record.args[0]
    is_tensor = isinstance(record, Record) and record.kind == "torch._utils._rebuild_tensor_v2"
    return record if is_tensor else None


def _storage(record: Record) -> tuple[str, str]:
    """Return the type of a tensor's storage, and its name in the archive."""
    _, numbers, key, *_ = record.args[0]
    if not isinstance(numbers, Name) or not isinstance(key, str):
        raise TypeError("a tensor has no storage")
    return numbers.kind, key


class BoundedFile(FileIO):
    """A file with limited reads; a larger central directory is cut off, and the archive counts as damaged."""

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
        return super().read(_LARGEST_READ if size is None or size < 0 else min(size, _LARGEST_READ))


def _explain(path: Path) -> str:
    """Return why a file is not a checkpoint and what to do, as the rest of a sentence."""
    reason, again = "is not a torch checkpoint, or it is damaged", "download or copy the file again"
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:  # a folder, or a disk that fails
        return f"{reason}: {ADVICE}"
    if not start.strip(b"\0"):
        return f"{'contains only zero bytes' if start else 'is empty'}: {again}"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer instead of the file: run `git lfs pull` where it comes from"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return f"is an HTML page, such as the answer of a web site that asks for a login: {again}"
    if start.startswith(b"PK\x03\x04") and not _is_whole(path):
        return f"is incomplete or damaged, as after an interrupted download: {again}"
    return f"{reason}: {ADVICE}"


def _is_whole(path: Path) -> bool:
    """Return whether a zip archive has its central directory, which is at its end."""
    try:
        with BoundedFile(path) as file, zipfile.ZipFile(file):
            return True
    except Exception:  # noqa: BLE001  a malformed archive can raise any exception
        return False


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a checkpoint for reading.

    Raises:
        WeightsError: If the file cannot be opened or is not a checkpoint. Any exception inside the ``with`` block is
            converted as well.
    """
    try:
        with BoundedFile(path) as file:
            size = path.stat().st_size
            if size > LARGEST:
                raise WeightsError(
                    f"{path.name} has {size} bytes, but a detection checkpoint has at most {LARGEST}: {ADVICE}."
                )
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > size:
                    raise ValueError("the archive unpacks to more than the file")
                yield Checkpoint(path.name, size, archive)
    except WeightsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name} no longer exists.") from error
    except PermissionError as error:
        raise WeightsError(f"{path.name} cannot be read: give the user of this service read permission.") from error
    # A malformed file can raise any exception; for the user they all mean the same.
    except Exception as error:
        raise WeightsError(f"{path.name} {_explain(path)}.") from error
