"""Curves as PNG: precision over recall of an evaluation, losses and metrics over the epochs of a training."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from app.storage import write_atomic
from app.training.history import EpochRecord
from app.training.metrics import ClassFigures, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), safe for colour-blind readers.
# Further lines repeat the colours with another line style.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31")
_STYLES = ("-", "--", ":", "-.")
_INK, _GRID = "#222222", "#DDDDDD"
_MOST_LINES = 24
_DPI = 150


def draw_precision_recall(evaluation: Evaluation, path: Path) -> None:
    """Write the precision-recall curve of an evaluation.

    It has a line for each class, a bold line for all classes, and a dot at the confidence of the evaluation.
    """
    figure, (axes,) = _open_figure(8.5, 5.5, 1)
    classes = sorted((each for each in evaluation.classes if each.illustrations), key=lambda each: -(each.ap50 or 0))
    recalls = [point / 100 for point in range(101)]
    if len(classes) > 1:
        for index, each in enumerate(classes[:_MOST_LINES]):
            axes.plot(recalls, each.precision_at_recall, **_style(index), lw=1.4, label=_label(each))
    if classes:
        axes.plot(recalls, evaluation.overall.precision_at_recall, color=_INK, lw=2.6, label=_label_all(evaluation))
    if evaluation.overall.precision is not None and evaluation.overall.recall is not None:
        here = evaluation.overall.recall, evaluation.overall.precision
        axes.plot(*here, "o", color=_INK, ms=8, label=_label_dot(evaluation))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(
        f"{evaluation.overall.illustrations} illustrations on {evaluation.pages} pages, IoU {evaluation.iou:g}",
        loc="left",
    )
    left_out = f" (the best {_MOST_LINES} of {len(classes)})" if len(classes) > _MOST_LINES else ""
    _add_legend(figure, axes, f"AP50{left_out}")
    _save(figure, path)


def draw_history(epochs: Sequence[EpochRecord], path: Path) -> None:
    """Write the curves of a training over its epochs: the losses, and the metrics on the validation pages."""
    figure, (losses, figures) = _open_figure(11, 4.8, 2)
    numbers = [record.epoch for record in epochs]
    names = sorted({name for record in epochs for name in record.losses})
    kinds = sorted({name.rpartition("/")[2] for name in names})
    for name in names:
        values = [record.losses.get(name, float("nan")) for record in epochs]
        # Each loss has one colour: solid for training, dashed for validation.
        style = _style(kinds.index(name.rpartition("/")[2])) | ({"ls": "--"} if name.startswith("val/") else {})
        losses.plot(numbers, values, **style, lw=1.8, label=name.replace("_", " "), **_mark(epochs))
    for index, (name, title) in enumerate(
        {"precision": "precision", "recall": "recall", "ap50": "AP50", "ap50_95": "AP50-95"}.items()
    ):
        values = [getattr(record, name) for record in epochs]
        figures.plot(numbers, values, **_style(index), lw=1.8, label=title, **_mark(epochs))
    losses.set(xlabel="epoch", ylim=(0, None))
    losses.set_title("losses", loc="left")
    figures.set(xlabel="epoch", ylim=(0, 1.02))
    figures.set_title("metrics on the validation pages", loc="left")
    for axes in (losses, figures):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(frameon=False, fontsize=10)
    _save(figure, path)


def _open_figure(width: float, height: float, panels: int) -> tuple[Figure, list["Axes"]]:
    """Return a figure that is not registered with pyplot, and its panels, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panes = [figure.add_subplot(1, panels, place + 1) for place in range(panels)]
    for axes in panes:
        axes.grid(color=_GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=10)
        axes.xaxis.label.set_fontsize(11)
        axes.yaxis.label.set_fontsize(11)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, panes


def _style(index: int) -> dict[str, Any]:
    return {"color": _COLOURS[index % len(_COLOURS)], "ls": _STYLES[index // len(_COLOURS) % len(_STYLES)]}


def _mark(epochs: Sequence[EpochRecord]) -> dict[str, Any]:
    """Return the style of dots for short curves, where a line alone would hardly be visible."""
    return {"marker": "o", "ms": 4} if len(epochs) <= 10 else {}


def _label(figures: ClassFigures) -> str:
    return f"{figures.ap50:.3f}  {figures.name[:40]}"


def _label_all(evaluation: Evaluation) -> str:
    one = len(evaluation.classes) == 1
    name = evaluation.classes[0].name[:40] if one else "all classes"
    return f"{evaluation.overall.ap50:.3f}  {name}"


def _label_dot(evaluation: Evaluation) -> str:
    figures = evaluation.overall
    return f"confidence {evaluation.confidence:g}:\nP {figures.precision:.2f}, R {figures.recall:.2f}"


def _add_legend(figure: Figure, axes: "Axes", title: str) -> None:
    """Draw the legend next to the curves; ``$`` in a class name does not start a formula."""
    if not axes.lines:
        return
    legend = figure.legend(loc="outside right upper", title=title, frameon=False, fontsize=10, alignment="left")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _save(figure: Figure, path: Path) -> None:
    content = BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    write_atomic(path, content.getvalue())
