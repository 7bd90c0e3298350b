"""The history of a training: a file with one JSON line for each epoch."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FIGURES = ("precision", "recall", "ap50", "ap50_95")


@dataclass(frozen=True)
class EpochRecord:
    """Losses and metrics of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        seconds: Duration in seconds.
        losses: Losses by name, such as ``train/box_loss``.
        precision, recall, ap50, ap50_95: Metrics on the validation pages; NaN if undefined.
    """

    epoch: int
    seconds: float
    losses: Mapping[str, float]
    precision: float
    recall: float
    ap50: float
    ap50_95: float

    @property
    def figures(self) -> dict[str, float]:
        """Losses and metrics by name."""
        return {**self.losses, **{name: getattr(self, name) for name in FIGURES}}

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON; NaN and infinity become None."""
        fields = asdict(self) | {name: _round(getattr(self, name)) for name in FIGURES}
        return fields | {"losses": {name: _round(value) for name, value in self.losses.items()}}


def load_history(path: Path) -> tuple[EpochRecord, ...]:
    """Return the epochs of a training in order.

    If an epoch was repeated after an interruption, its last record counts. An incomplete last line is ignored.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    records = (_parse(json.loads(line)) for line in lines)
    epochs = {record.epoch: record for record in records}
    return tuple(epochs[epoch] for epoch in sorted(epochs))


def has_settled(history: Sequence[EpochRecord], patience: int) -> bool:
    """Return whether the best AP50-95 was reached at least ``patience`` epochs ago; False while it is 0."""
    learned = [record for record in history if record.ap50_95 > 0]
    return bool(learned) and history[-1].epoch - max(learned, key=lambda record: record.ap50_95).epoch >= patience


def append_epoch(path: Path, record: EpochRecord) -> None:
    """Append the record of an epoch; an incomplete last line is overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(json.dumps(record.as_json(), ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _parse(fields: Mapping[str, Any]) -> EpochRecord:
    figures = {name: _read(fields[name]) for name in FIGURES}
    losses = {name: _read(value) for name, value in fields["losses"].items()}
    return EpochRecord(epoch=fields["epoch"], seconds=fields["seconds"], losses=losses, **figures)


def _round(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def _read(value: float | None) -> float:
    return math.nan if value is None else value
