"""Checkpoints of untrained networks, and forged checkpoints made of records."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from app.detection.weights import Weights
from app.detection.weights_files.pickles import Name, Record


def save_network(path: Path, architecture: str, **train_args: object) -> Path:
    """Save an untrained network with two classes in the format of ultralytics' trained checkpoints."""
    import torch
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

    kind = RTDETRDetectionModel if architecture.startswith("rtdetr") else DetectionModel
    network = kind(architecture, nc=2, verbose=False).half()
    torch.save({"epoch": -1, "model": None, "ema": network, "optimizer": None, "train_args": train_args}, path)
    return path


def make_module(kind: str = "ultralytics.nn.tasks.DetectionModel", **parts: Any) -> Record:
    """Return the record of a module without parameters; by default, of a detection network."""
    return Record(kind, (), {"_parameters": {}, "_buffers": {}, "_modules": parts, "names": {0: "a"}})


def make_tensor(size: tuple[Any, ...], stride: tuple[Any, ...], offset: Any = 0) -> Record:
    """Return the record of a tensor whose data is the storage "0"."""
    storage = ("storage", Name("torch.FloatStorage"), "0", "cpu", 4)
    return Record("torch._utils._rebuild_tensor_v2", (Stored(storage), offset, size, stride, False, None))


class Call(Record):
    """A record that is written as a call (REDUCE), not as an empty instance of its class (NEWOBJ)."""


class Stored(tuple[Any, ...]):
    """The persistent id of a storage."""


def write_pickle(value: Any) -> bytes:
    """Return the pickle of a value with names and records; the inverse of ``parse_pickle``."""
    return b"\x80\x02" + _write(value, {}) + b"."


def _write(value: Any, memo: dict[int, int]) -> bytes:
    if id(value) in memo:
        return b"j" + memo[id(value)].to_bytes(4, "little")
    match value:
        case Name():
            return "c{}\n{}\n".format(*value.kind.rsplit(".", 1)).encode()
        case Stored():
            return _write(tuple(value), memo) + b"Q"
        case Record():
            called = isinstance(value, Call) or value.kind.startswith("torch._utils.")
            made = _write(Name(value.kind), memo) + _write(value.args, memo) + (b"R" if called else b"\x81")
            made += _remember(value, memo)  # before its state, which may contain the record itself
            return made if value.state is None else made + _write(value.state, memo) + b"b"
        case dict():
            items = b"".join(_write(each, memo) for item in value.items() for each in item)
            return b"}(" + items + b"u"
        case list():
            return b"](" + b"".join(_write(each, memo) for each in value) + b"e"
        case tuple():
            return b"(" + b"".join(_write(each, memo) for each in value) + b"t"
        case str():
            return b"X" + len(value).to_bytes(4, "little") + value.encode()
        case _:
            return pickle.dumps(value, 2)[2:-1]  # a number or None


def _remember(value: Any, memo: dict[int, int]) -> bytes:
    place = memo.setdefault(id(value), len(memo))
    return b"r" + place.to_bytes(4, "little")


def save_pickle(path: Path, content: bytes, **numbers: bytes) -> Path:
    """Save a pickle, and the data of storages by their ids, in an archive like those of ``torch.save``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for name, each in numbers.items():
            archive.writestr(f"archive/data/{name}", each)
    return path


def save_records(path: Path, network: Any, **others: Any) -> Path:
    """Save a checkpoint with the record of a network, and other entries."""
    return save_pickle(path, write_pickle({"model": network, **others}), **{"0": bytes(16)})


def find_weights(path: Path) -> Weights:
    status = path.stat()
    return Weights(path.name, path, status.st_mtime, status.st_size)
