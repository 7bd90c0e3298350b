"""``python -m app models``: the detection weights of this installation, with the figures of their cards."""

import re
import time
from typing import Any

import click

from app.command_line.outcome import Outcome, format_examples, report_outcome

EXAMPLES = format_examples(
    "models",
    "models --json",
)
# Columns of the table of results in a model card.
_FIGURES = ("precision", "recall", "AP50", "AP50-95")
# A figure, and mostly its interval: ``0.917 (0.81–0.98)``.
_FIGURE = re.compile(r"([01](?:\.\d+)?)(?: \(.*\))?")


@click.command(epilog=EXAMPLES, short_help="List the detection weights.")
@report_outcome
def models() -> Outcome:
    """List the detection weights of this installation, with the figures of their model cards."""
    from app.command_line.workspace import open_models
    from app.config import Settings
    from app.detection.weights_description import describe, load_card

    settings = Settings.load()
    store, found = open_models(settings), []
    default = store.default.name.removesuffix(".pt")
    for weights in store.list_weights().values():
        description = describe(weights)
        found.append(
            {
                "name": weights.name,
                "default": weights.path.stem == default,
                "changed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(weights.changed)),
                "architecture": description.architecture,
                "classes": [*description.classes.values()],
                "sha256": description.sha256,
                "error": description.error or None,
                "figures": read_figures(load_card(weights.path) or ""),
            }
        )
    lines = [_format(each) for each in found] or [f"There are no weights in {settings.models_folder}."]
    return Outcome({"models": found}, lines)


def read_figures(card: str) -> dict[str, float]:
    """Return the figures in the first row of the first table of a model card that has them, by column."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in card.splitlines()]
    for head, _, row in zip(rows, rows[1:], rows[2:], strict=False):
        if set(_FIGURES) <= set(head) and len(row) == len(head):
            cells = dict(zip(head, row, strict=True))
            found = {name: _FIGURE.fullmatch(cells[name]) for name in _FIGURES}
            return {name: float(figure[1]) for name, figure in found.items() if figure}
    return {}


def _format(model: dict[str, Any]) -> str:
    name = f"{model['name']}{' (default)' if model['default'] else ''}"
    if model["error"]:
        return f"{name}: cannot be used: {model['error']}"
    figures = ", ".join(f"{column} {value:.2f}" for column, value in model["figures"].items())
    classes = ", ".join(model["classes"][:5]) + (" …" if len(model["classes"]) > 5 else "")
    return f"{name}: {model['architecture']}, {classes}; {figures or 'no figures in a model card'}"
