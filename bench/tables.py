"""Print Markdown tables, and a line that says when and on which machine they were measured."""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

# The rows of each printed table, by column, for ``save_tables``.
_printed: list[list[dict[str, object]]] = []


def print_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, each row as soon as the iterable yields it."""
    table: list[dict[str, object]] = []
    _printed.append(table)
    for row in (head, ["---"] * len(head)):
        print(format_row(row))
    for row in rows:
        print(format_row(row), flush=True)
        table.append(dict(zip(map(str, head), row, strict=True)))


def save_tables(path: Path) -> None:
    """Write the tables printed so far, and the machine, as JSON."""
    path.write_text(json.dumps({"machine": describe_machine(), "tables": _printed}, indent=1, default=str))


def format_row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def describe_machine() -> str:
    """Return the date, the hardware, the current load and the version of torch, as one line of text."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _read_processor()
    load = os.getloadavg()[0]
    return f"{date.today()}, {device}, {os.cpu_count()} cores, load {load:.1f}, torch {torch.__version__}"


def _read_processor() -> str:
    """Return the model name of the processor from ``/proc/cpuinfo``, or `CPU` where there is none."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "CPU")
