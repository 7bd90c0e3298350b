"""The model card: a Markdown page next to the weights file, with its training data and its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.detection.weights_description import Description
from app.training.datasets import Dataset, Split
from app.training.metrics import METRICS

_HEAD = "| class | illustrations | precision | recall | AP50 | AP75 | AP50-95 |"


@dataclass(frozen=True)
class TrainingRun:
    """The facts of a training run that appear in the model card.

    Attributes:
        start: Name of the start weights, as client apps know it.
        dataset: Data set of the training.
        epochs: Number of epochs of the request.
        trained: Number of epochs after which the training ended.
        size: Longer side of the network's input, in pixels.
        share: Share of the new weights in the mean with the start weights; 1 if they were not averaged.
        figures: Metrics of the new weights by split, as :meth:`~app.training.metrics.Evaluation.as_json` returns them.
        figures_before: Metrics of the start weights on the same pages; None if they have other classes.
        finished: End of the training, in seconds since the Unix epoch.
    """

    start: str
    dataset: Dataset
    epochs: int
    trained: int
    size: int
    share: float
    figures: Mapping[str, Mapping[str, Any]]
    figures_before: Mapping[str, Mapping[str, Any]] | None
    finished: float


def format_card(name: str, weights: Description, run: TrainingRun) -> str:
    """Return the model card of a weights file as Markdown."""
    date = datetime.fromtimestamp(run.finished, UTC).date().isoformat()
    rows = {
        "architecture": f"{weights.architecture or 'unknown'}, {weights.parameters:,} parameters, {run.size} pixels",
        "classes": ", ".join(run.dataset.classes),
        "start weights": run.start,
        "epochs": f"{run.trained} of {run.epochs}",
        "share of the new weights": f"{run.share:.0%}" + ("; the rest are the start weights" if run.share < 1 else ""),
        "sha256": f"`{weights.sha256}`",
        "date": date,
        "licence": "AGPL-3.0, the licence of the network's code",
    }
    head = [f"# {name}", "", "| | |", "| --- | --- |", *(f"| {row} | {_cell(text)} |" for row, text in rows.items())]
    data = ["", "## Data", "", _describe_data(run.dataset), ""]
    results = ["## Results", *_format_reports(run.figures)]
    if run.figures_before:
        results += ["", "## The start weights on the same pages", *_format_reports(run.figures_before)]
    return "\n".join([*head, *data, *results]) + "\n"


def _describe_data(dataset: Dataset) -> str:
    splits = "; ".join(f"{name}: {_count(split)}" for name, split in dataset.splits.items())
    kept = "The network was trained on `train`. The epoch with the best metrics on `val` was kept and calibrated there."
    return f"Data set `{dataset.name}`. {splits}. {kept}"


def _count(split: Split) -> str:
    return f"{split.images} pages, {split.illustrations} illustrations, {split.empty} pages without illustrations"


def _format_reports(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for split, report in reports.items():
        measured = f"at confidence {report['confidence']:g} and IoU {report['iou']:g}"
        lines += ["", f"{report['pages']} pages of `{split}`, {measured}:", "", _HEAD, "| --- " * 7 + "|"]
        lines += [_format_class(each) for each in (report["overall"], *report["classes"])]
        lines += _explain(report)
    return lines


def _format_class(figures: Mapping[str, Any]) -> str:
    shown = [_format_figure(figures, name) for name in METRICS]
    return f"| {_cell(figures['name'])} | {figures['illustrations']} | {' | '.join(shown)} |"


def _explain(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if report["overall"]["intervals"]:
        drawn = f"{report['documents']} documents" if report["documents"] else "pages, which are all of one document"
        lines += ["", f"In brackets: 95 % intervals, from resampled {drawn}."]
    if report["calibration_error"] is not None:
        lines += ["", f"Expected calibration error of the confidences: {report['calibration_error']:.3f}."]
    return lines


def _format_figure(figures: Mapping[str, Any], name: str) -> str:
    if figures[name] is None:
        return "–"
    low_high = figures["intervals"].get(name)
    return f"{figures[name]:.3f}" + (f" ({low_high[0]:.2f}–{low_high[1]:.2f})" if low_high else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
