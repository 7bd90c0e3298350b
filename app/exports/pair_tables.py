"""CSV of similarity jobs: pairs of images of two documents, and groups of images that show the same block."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.exports.csv_table import Value, escape_formula, format_csv
from app.similarity.scored_pairs import ScoredPair, format_json
from app.similarity.scores import ComparedDocument

PAIR_COLUMNS = (
    *("document_1", "image_1", "url_1", "document_2", "image_2", "url_2", "score", "transposition"),
    *("verdict", "probability", "inliers", "region_1", "region_2", "transform"),
)
GROUP_COLUMNS = (
    *("group", "size", "representative", "document", "image", "url", "x", "y", "width", "height"),
    *("partner_document", "partner_image", "verdict", "probability"),
)


def format_pairs(
    pairs: Iterable[ScoredPair], a: ComparedDocument, b: ComparedDocument, transpositions: Sequence[str]
) -> str:
    """Return a line for each pair. The arguments are those of :func:`~app.similarity.scored_pairs.format_json`."""
    rows = (_list_cells(pair, a.doc_id, b.doc_id) for pair in format_json(pairs, a, b, transpositions))
    return format_csv(PAIR_COLUMNS, rows)


def _list_cells(pair: Mapping[str, Any], doc_id_1: str, doc_id_2: str) -> Sequence[Value]:
    one, two = pair["image_1"], pair["image_2"]
    names = doc_id_1, one["name"], one["url"], doc_id_2, two["name"], two["url"]
    values = (pair[name] for name in PAIR_COLUMNS[6:11])
    lists = (",".join(map(str, pair[name] or ())) for name in PAIR_COLUMNS[11:])
    return [*map(escape_formula, names), *values, *lists]


def format_groups(groups: Iterable[Mapping[str, Any]]) -> str:
    """Return a line for each image.

    Args:
        groups: Groups as in the answer of ``GET /jobs/<id>/groups``.
    """
    return format_csv(GROUP_COLUMNS, _list_images(groups))


def _list_images(groups: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[Value]]:
    for group in groups:
        for place, member in enumerate(group["members"]):
            partner = member["partner"]
            head = group["group"], group["size"], "no" if place else "yes"
            image = member["document"], member["name"], member["url"], *(member["region"] or [""] * 4)
            cells = *head, *image, *partner.values(), member["verdict"], member["probability"]
            yield [escape_formula(cell) for cell in cells]
