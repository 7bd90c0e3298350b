"""``python -m app compare``: the images of documents that show the same, pair by pair."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.command_line.options import (
    backbone_option,
    illustrations_model_option,
    illustrations_option,
    out_option,
    transposition_option,
    verify_option,
)
from app.command_line.outcome import DONE, INCOMPLETE, Outcome, format_examples, report_outcome, show_progress
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


@click.command(epilog=EXAMPLES, short_help="Compare the images of documents.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@out_option
@illustrations_option
@illustrations_model_option
@backbone_option
@transposition_option
@verify_option
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
        *(f"{rank:>3}  {_describe(pair)}" for rank, pair in enumerate(pairs[:top], 1)),
        f"{len(pairs)} pairs, {len(groups)} groups: {out}/pairs.csv, pairs.json, groups.json, pairs.png",
    ]
    return Outcome(facts, lines, DONE if compared.is_complete else INCOMPLETE)


def _list_pairs(
    result: "ComparisonResult", doc_ids: Sequence[str], transpositions: Sequence[str]
) -> tuple[list[dict[str, Any]], str]:
    """Return the matches of different documents, or of the only document, best first; and the same as CSV."""
    from app.exports.pair_tables import format_pairs
    from app.jobs.pairs import list_pairs
    from app.similarity.scored_pairs import Order, format_json, list_scored, select

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
        tables.append(format_pairs(chosen, scored.a, scored.b, transpositions))
    pairs.sort(key=_rank)
    return pairs, "".join(table if number == 0 else table.partition("\n")[2] for number, table in enumerate(tables))


def _rank(pair: dict[str, Any]) -> tuple[float, float]:
    """Return the sort key of a match: verified ones first, by their probability, then all others by their score."""
    probability = pair["probability"]
    return 1.0 if probability is None else -probability, -pair["score"]


def _describe(pair: Mapping[str, Any]) -> str:
    return describe_match(pair, *(f"{pair[f'document_{n}']}/{pair[f'image_{n}']['name']}" for n in (1, 2)))


def describe_match(match: Mapping[str, Any], *images: str) -> str:
    """Return a line about a match of a comparison or a search.

    Args:
        match: Match with its score and its verification.
        images: Names to show.
    """
    turned = "" if match["transposition"] == "none" else f" ({match['transposition']})"
    probability = "    " if match["probability"] is None else f"{match['probability']:.2f}"
    head = f"{match['verdict'] or '–':<5} {probability}  score {match['score']:.2f}{turned}"
    return "  ".join((head, *images))


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
