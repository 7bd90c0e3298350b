"""Plots of the benchmarks, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.blocks.pairs import Curve

# Columns that are drawn: table → (horizontal axis, costs).
GROWTH = {
    "pages": ("pages", ("ms/page", "processor ms/page")),
    "documents": ("documents", ("ms/pair", "processor ms/pair")),
    "history": ("finished jobs", ("submit, ms", "lease, ms", "GET /jobs/<id>, ms", "GET /metrics, ms", "sweep, ms")),
}


def draw_growth(tables: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw the costs of each table over its size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tables), figsize=(5 * len(tables), 4), layout="constrained")
    for axis, (name, rows) in zip(axes, tables.items(), strict=True):
        size, costs = GROWTH[name]
        for cost in costs:
            points = sorted((row[size], row[cost]) for row in rows if row.get("manifests", 1) == 1)
            axis.plot(*zip(*points, strict=True), marker="o", label=cost)
        axis.set(xscale="symlog", xlabel=size, ylabel="ms", ylim=(0, None), title=name)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def draw_precision_and_recall(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw precision over recall for each score."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6.5, 4.5), layout="constrained")
    for name, curve in curves.items():
        axis.plot(curve.recall, curve.precision, label=name)
    axis.set(xlabel="recall of pairs of one block", ylabel="precision", xlim=(0, 1.01), ylim=(0.5, 1.01))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=110)
