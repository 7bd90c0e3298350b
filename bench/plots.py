"""Plots of the benchmarks, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
