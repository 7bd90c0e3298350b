"""The model card: a Markdown page next to the weights file, with its training data and its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.detection.weights_description import Description
from app.training.datasets import Dataset, Split

_HEAD = "| class | illustrations | precision | recall | AP50 | AP50-95 |"


@dataclass(frozen=True)
class TrainingRun:
    """The facts of a training run that appear in the model card.

    Attributes:
        start: Name of the start weights, as client apps know it.
        dataset: Data set of the training.
        epochs: Number of epochs.
        size: Longer side of the network's input, in pixels.
        figures: Metrics of the new weights by split, as :meth:`~app.training.metrics.Evaluation.as_json` returns them.
        finished: End of the training, in seconds since the Unix epoch.
    """

    start: str
    dataset: Dataset
    epochs: int
    size: int
    figures: Mapping[str, Mapping[str, Any]]
    finished: float


def format_card(name: str, weights: Description, run: TrainingRun) -> str:
    """Return the model card of a weights file as Markdown."""
    date = datetime.fromtimestamp(run.finished, UTC).date().isoformat()
    rows = {
        "architecture": f"{weights.architecture or 'unknown'}, {weights.parameters:,} parameters, {run.size} pixels",
        "classes": ", ".join(run.dataset.classes),
        "start weights": run.start,
        "epochs": str(run.epochs),
        "sha256": f"`{weights.sha256}`",
        "date": date,
        "licence": "AGPL-3.0, the licence of the network's code",
    }
    head = [f"# {name}", "", "| | |", "| --- | --- |", *(f"| {row} | {_cell(text)} |" for row, text in rows.items())]
    data = ["", "## Data", "", _describe_data(run.dataset), ""]
    return "\n".join([*head, *data, "## Results", *_format_reports(run.figures)]) + "\n"


def _describe_data(dataset: Dataset) -> str:
    splits = "; ".join(f"{name}: {_count(split)}" for name, split in dataset.splits.items())
    kept = "The network was trained on `train`; the epoch with the best metrics on `val` was kept."
    return f"Data set `{dataset.name}`. {splits}. {kept}"


def _count(split: Split) -> str:
    return f"{split.images} pages, {split.illustrations} illustrations, {split.empty} pages without illustrations"


def _format_reports(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for split, report in reports.items():
        measured = f"at confidence {report['confidence']:g} and IoU {report['iou']:g}"
        lines += ["", f"{report['pages']} pages of `{split}`, {measured}:", "", _HEAD, "| --- " * 6 + "|"]
        lines += [_format_class(each) for each in (report["overall"], *report["classes"])]
    return lines


def _format_class(figures: Mapping[str, Any]) -> str:
    shown = [_number(figures[name]) for name in ("precision", "recall", "ap50", "ap50_95")]
    return f"| {_cell(figures['name'])} | {figures['illustrations']} | {' | '.join(shown)} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
