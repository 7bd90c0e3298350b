"""Print results: tables in Markdown, under a line that says where and when they were measured."""

import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path


def print_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown, each row as soon as it is known."""
    for row in (head, ["---"] * len(head)):
        print(format_row(row))
    for row in rows:
        print(format_row(row), flush=True)


def format_row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def describe_machine() -> str:
    """Return the date, the hardware, the load before the measurement and the version of torch."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _read_processor()
    load = os.getloadavg()[0]
    return f"{date.today()}, {device}, {os.cpu_count()} cores, load {load:.1f}, torch {torch.__version__}"


def _read_processor() -> str:
    """Return the model name of the processor, as Linux has it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "CPU")
