"""A checkpoint of YOLOv5 or of ultralytics as a file: an archive of torch.save, with a pickle and the tensors' numbers.

It is opened without torch, so that also the web process can say what a file holds, and nothing in it runs: see
``pickles``. What opening costs is bounded, whoever has made the file. ``permitted`` says which ones are loaded.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from app.detection.pickles import LONGEST, Name, Reading, Record, parse_pickle
from app.errors import WeightsError

ADVICE = "put a detection checkpoint of ultralytics or YOLOv5 in its place"

# yolov5x6 has 140 million parameters: with moving average and optimizer, as training leaves it, 1.2 GB.
LARGEST = 4_000_000_000
# The directory of such an archive has 0.5 MB; each of its entries costs ten times as much once it is read.
_LARGEST_READ = 4_000_000
_MOST_DIMENSIONS = 16

# Bytes a number.
NUMBERS = {
    **dict.fromkeys(["torch.ByteStorage", "torch.CharStorage", "torch.BoolStorage"], 1),
    **dict.fromkeys(["torch.HalfStorage", "torch.BFloat16Storage", "torch.ShortStorage"], 2),
    **dict.fromkeys(["torch.FloatStorage", "torch.IntStorage"], 4),
    **dict.fromkeys(["torch.DoubleStorage", "torch.LongStorage"], 8),
}


class _BoundedFile(FileIO):
    """A file that gives only so much at a time: a directory that is longer than that reads as cut short."""

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
        return super().read(_LARGEST_READ if size is None or size < 0 else min(size, _LARGEST_READ))


class Checkpoint:
    """An open checkpoint.

    Args:
        name: Of the file, for errors.
        size: Of the file, in bytes.
        archive: Of torch.save.

    Raises:
        ValueError: The archive is not as torch writes it.
    """

    def __init__(self, name: str, size: int, archive: zipfile.ZipFile) -> None:
        self.name = name
        self.size = size
        self._archive = archive
        entries = archive.infolist()
        # Another reader of the archive, as torch's, would take another one of two that have one name.
        if not entries or len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("two entries of one name, or none")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("an entry is compressed")
        self._folder = entries[0].filename.partition("/")[0]
        if archive.getinfo(f"{self._folder}/data.pkl").file_size > LONGEST:
            raise ValueError("an immense pickle")
        self.reading: Reading = parse_pickle(self._read("data.pkl"))

    @property
    def is_yolov5(self) -> bool:
        """Whether it was saved by the YOLOv5 repository."""
        return any(name.startswith("models.yolo.") for name in self.reading.names)

    @property
    def content(self) -> dict[str, Any]:
        """What was saved: the network, and what training leaves beside it."""
        content = self.reading.content
        if not isinstance(content, dict):
            raise WeightsError(f"{self.name} is not a checkpoint: {ADVICE}.")
        return content

    @property
    def network(self) -> Record:
        """The network to detect with: its moving average (``ema``) where there is one."""
        record = self.content.get("ema") or self.content.get("model")
        if isinstance(record, Record) and record.kind.endswith(".DataParallel"):
            record = children(record)["module"]
        if not isinstance(record, Record):
            raise WeightsError(f"{self.name} holds no network: {ADVICE}.")
        return record

    def read_numbers(self, record: Record) -> bytes:
        """Return the bytes of a tensor's storage."""
        return self._read(f"data/{_storage(record)[1]}")

    def count(self, record: Record) -> int:
        """Return how many numbers a tensor has.

        Raises:
            ValueError: There are not as many in the file as it says.
        """
        kind, key = _storage(record)
        there = self._archive.getinfo(f"{self._folder}/data/{key}").file_size // NUMBERS[kind]
        _, offset, size, stride, *_ = record.args
        if len(size) > _MOST_DIMENSIONS or not all(
            type(each) is int and each >= 0 for each in (offset, *size, *stride)
        ):
            raise ValueError("a tensor of no possible shape")
        furthest = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if 0 not in size and furthest >= there:
            raise ValueError("a tensor reaches beyond its numbers")
        return math.prod(size)

    def _read(self, name: str) -> bytes:
        return self._archive.read(f"{self._folder}/{name}")


def children(record: Record) -> dict[str, Any]:
    """Return the parts of a module."""
    parts: dict[str, Any] = record.state["_modules"]
    return parts


def read_classes(network: Record) -> dict[int, str]:
    """Return the names of a network's classes by their ids, which are a list until YOLOv5 6.1.

    Raises:
        ValueError: They are something else.
    """
    names = network.state["names"]
    numbered = dict(names.items() if isinstance(names, dict) else enumerate(names))
    if not all(isinstance(name, (str, int)) for name in numbered.values()):
        raise ValueError("the name of a class is no text")
    return {int(number): str(name) for number, name in numbered.items()}


def find_tensor(record: Any) -> Record | None:
    """Return the tensor that a record is or, of a parameter, holds; None where there is none."""
    if isinstance(record, Record) and record.kind.startswith("torch._utils._rebuild_parameter"):
        record = record.args[0]
    is_tensor = isinstance(record, Record) and record.kind == "torch._utils._rebuild_tensor_v2"
    return record if is_tensor else None


def _storage(record: Record) -> tuple[str, str]:
    """Return the kind of a tensor's numbers, and their name in the archive."""
    _, numbers, key, *_ = record.args[0]
    if not isinstance(numbers, Name) or not isinstance(key, str):
        raise TypeError("a tensor without numbers")
    return numbers.kind, key


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a checkpoint to read from.

    Raises:
        WeightsError: It cannot be opened, or is not one. What else goes wrong while it is read means that as well.
    """
    try:
        with _BoundedFile(path) as file:
            size = path.stat().st_size
            if size > LARGEST:
                raise WeightsError(f"{path.name} has {size} bytes, more than any checkpoint for detection: {ADVICE}.")
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > size:
                    raise ValueError("the archive unpacks to more than the file")
                yield Checkpoint(path.name, size, archive)
    except WeightsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name} is no longer there.") from error
    except PermissionError as error:
        raise WeightsError(f"{path.name} cannot be read: let the user of this service read it.") from error
    # Whatever is in a file, readers can raise anything: all of it means the same to the user.
    except Exception as error:
        raise WeightsError(f"{path.name} is not a checkpoint of torch, or a damaged one: {ADVICE}.") from error
