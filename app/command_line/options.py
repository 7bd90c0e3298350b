"""Options that several commands have."""

from pathlib import Path

import click

from app.similarity.backbones import BACKBONES
from app.similarity.transpositions import Transposition

_BACKBONE = "illustrations"

out_option = click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results."
)
model_option = click.option(
    "--model", default="", metavar="NAME|FILE.pt", help="Detection weights: see `python -m app models`."
)
illustrations_option = click.option(
    "--illustrations", is_flag=True, help="Detect the illustrations, and compare these instead of whole pages."
)
illustrations_model_option = click.option(
    "--model", default="", metavar="NAME|FILE.pt", help="Detection weights for --illustrations."
)
backbone_option = click.option(
    "--backbone",
    default=_BACKBONE,
    show_default=True,
    help=f"Network that compares: {', '.join(BACKBONES)}, or timm:<model name>. `{_BACKBONE}` needs no download.",
)
transposition_option = click.option(
    "--transposition",
    "transpositions",
    multiple=True,
    type=click.Choice([each.value for each in Transposition if each is not Transposition.NONE]),
    help="Compare the first image also turned. Repeat it for several.",
)
verify_option = click.option(
    "--verify", type=click.IntRange(0, 100), default=10, show_default=True, help="Best matches to verify."
)
