"""``python -m app compare``: the images of documents that show the same, pair by pair."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.command_line.outcome import DONE, INCOMPLETE, Outcome, format_examples, report_outcome, show_progress
from app.similarity.backbones import BACKBONES
from app.similarity.transpositions import Transposition

if TYPE_CHECKING:
    from PIL import Image

    from app.command_line.workspace import Workspace
    from app.jobs.pairs import ComparisonResult

EXAMPLES = format_examples(
    "compare ms-1/ ms-2.pdf --out compared",
    "compare A/manifest.json B/manifest.json --illustrations --out compared",
    "compare scans/ --transposition hflip --top 50 --out compared --json",
)
BACKBONE = "illustrations"

# Options of comparisons and searches.
backbone_option = click.option(
    "--backbone",
    default=BACKBONE,
    show_default=True,
    help=f"Network that compares: {', '.join(BACKBONES)}, or timm:<model name>. `{BACKBONE}` needs no download.",
)
transposition_option = click.option(
    "--transposition",
    "transpositions",
    multiple=True,
    type=click.Choice([each.value for each in Transposition if each is not Transposition.NONE]),
    help="Compare the first image also turned. Repeat it for several.",
)
illustrations_option = click.option(
    "--illustrations", is_flag=True, help="Detect the illustrations, and compare these instead of whole pages."
)
model_option = click.option(
    "--model", default="", metavar="NAME|FILE.pt", help="Detection weights for --illustrations."
)
out_option = click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results."
)


@click.command(epilog=EXAMPLES, short_help="Compare the images of documents.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@out_option
@illustrations_option
@model_option
@backbone_option
@transposition_option
@click.option("--verify", type=click.IntRange(0, 100), default=10, show_default=True, help="Best matches to verify.")
@click.option("--topk", type=click.IntRange(1, 1000), default=20, show_default=True, help="Best matches to keep.")
@click.option("--top", type=click.IntRange(1, 200), default=20, show_default=True, help="Pairs to print and draw.")
@report_outcome
def compare(
    sources: Sequence[str],
    out: Path,
    illustrations: bool,
    model: str,
    backbone: str,
    transpositions: Sequence[str],
    verify: int,
    topk: int,
    top: int,
) -> Outcome:
    """Compare the images of documents, pair by pair. A single document is compared with itself.

    A SOURCE is a document as in `detect`. The best matches are verified: `same` and `part` mean that both images were
    printed from one block, `copy?` that one may be a copy of the other.

    The output folder gets pairs.csv and pairs.json with all matches, groups.json, and pairs.png with the best ones.
    """
    from app.command_line.documents import DocumentReader
    from app.command_line.embedding import (
        Comparer,
        ComparisonOptions,
        describe_coverage,
        format_coverage,
        open_documents,
    )
    from app.command_line.pictures import draw_pair_sheet
    from app.command_line.workspace import find_weights, open_workspace, write_result
    from app.jobs.job_groups import load_groups
    from app.jobs.pairs import ComparisonResult
    from app.jobs.requests import DetectionOptions

    turned = (Transposition.NONE, *map(Transposition, dict.fromkeys(transpositions)))
    with open_workspace(out) as workspace:
        reader = DocumentReader(workspace, find_weights(workspace.settings, model), DetectionOptions())
        comparer = Comparer(workspace, ComparisonOptions(backbone, turned, topk, min(verify, topk), illustrations))
        documents = open_documents(reader, sources, illustrations=illustrations)
        compared = comparer.compare(reader, documents)
        result = ComparisonResult(compared.folder, documents)
        pairs, table = _list_pairs(result, [*documents], turned)
        write_result(out / "pairs.csv", table.encode())
        write_result(out / "pairs.json", json.dumps(pairs, ensure_ascii=False, indent=1).encode())
        groups = load_groups(compared.folder, documents) or []
        write_result(out / "groups.json", json.dumps(groups, ensure_ascii=False, indent=1).encode())
        with show_progress("Drawing", "pair") as report:
            draw_pair_sheet(_draw(workspace, result, pairs[:top], report), out / "pairs.png")
    facts = {
        "backbone": backbone,
        "documents": format_coverage(compared.coverage),
        "pairs": len(pairs),
        "groups": len(groups),
        "best": pairs[:top],
        "files": ["pairs.csv", "pairs.json", "groups.json", "pairs.png"],
    }
    lines = [
        *describe_coverage(compared.coverage),
        *(f"{rank:>3}  {describe_pair(pair)}" for rank, pair in enumerate(pairs[:top], 1)),
        f"{len(pairs)} pairs, {len(groups)} groups: {out}/pairs.csv, pairs.json, groups.json, pairs.png",
    ]
    return Outcome(facts, lines, DONE if compared.is_complete else INCOMPLETE)


def _list_pairs(
    result: "ComparisonResult", doc_ids: Sequence[str], transpositions: Sequence[str]
) -> tuple[list[dict[str, Any]], str]:
    """Return the matches of different documents, or of the only document, best first; and the same as CSV."""
    from app.jobs.pairs import list_pairs
    from app.similarity.scored_pairs import Order, format_csv, format_json, list_scored, select

    pairs: list[dict[str, Any]] = []
    tables = []
    for a, b in list_pairs(doc_ids):
        if a == b and len(doc_ids) > 1:
            continue
        scored, verified = result.load_pair((a, b)), result.load_verified((a, b))
        if scored is None:
            continue
        found = list_scored(scored.scores, verified.pairs if verified else ())
        chosen = select(found, Order.PROBABILITY, None, None)
        rows = format_json(chosen, scored.a, scored.b, transpositions)
        pairs += ({"document_1": a, "document_2": b} | row for row in rows)
        tables.append(format_csv(chosen, scored.a, scored.b, transpositions))
    pairs.sort(key=_rank)
    return pairs, "".join(table if number == 0 else table.partition("\n")[2] for number, table in enumerate(tables))


def _rank(pair: dict[str, Any]) -> tuple[float, float]:
    """Return the sort key of a match: verified ones first, by their probability, then all others by their score."""
    probability = pair["probability"]
    return 1.0 if probability is None else -probability, -pair["score"]


def describe_pair(pair: dict[str, Any]) -> str:
    """Return a line about a match."""
    turned = "" if pair["transposition"] == "none" else f" ({pair['transposition']})"
    verdict = pair["verdict"] or "–"
    probability = "    " if pair["probability"] is None else f"{pair['probability']:.2f}"
    images = "  ".join(f"{pair[f'document_{n}']}/{pair[f'image_{n}']['name']}" for n in (1, 2))
    return f"{verdict:<5} {probability}  score {pair['score']:.2f}{turned}  {images}"


def _draw(
    workspace: "Workspace", result: "ComparisonResult", pairs: Sequence[dict[str, Any]], report: Any
) -> Iterator["Image.Image"]:
    """Yield the picture of each pair. A pair whose image was removed is left out."""
    from PIL import Image

    from app.errors import NotFound
    from app.jobs.pair_pictures import NamedImage, draw_named_pair

    for number, pair in enumerate(pairs, 1):
        named = [NamedImage(pair[f"document_{n}"], pair[f"image_{n}"]["name"]) for n in (1, 2)]
        try:
            yield Image.open(io.BytesIO(draw_named_pair(workspace.storage, result, *named)))
        except NotFound:
            continue
        report(number, len(pairs))
