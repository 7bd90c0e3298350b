"""``python -m app search``: the best matches of one image in documents."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.command_line.compare import describe_match
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

    from app.command_line.embedding import Compared, Comparer
    from app.command_line.workspace import Workspace
    from app.pipelines.search.query_image import QueryImage

EXAMPLES = format_examples(
    "search woodcut.png ms-1/ ms-2.pdf --out found",
    "search page.jpg ms-1/ --xywh 166,1325,578,516 --illustrations --out found --json",
)
# Longer side of the drawn images, in pixels.
_LONGEST = 1200


@click.command(epilog=EXAMPLES, short_help="Search for an image in documents.")
@click.argument("image", metavar="IMAGE")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@out_option
@click.option("--xywh", default="", metavar="X,Y,W,H", help="Region of the image, in pixels of the full-size image.")
@illustrations_option
@illustrations_model_option
@backbone_option
@transposition_option
@verify_option
@click.option("--top", "k", type=click.IntRange(1, 200), default=20, show_default=True, help="Matches to return.")
@report_outcome
def search(
    image: str,
    sources: Sequence[str],
    out: Path,
    xywh: str,
    illustrations: bool,
    model: str,
    backbone: str,
    transpositions: Sequence[str],
    verify: int,
    k: int,
) -> Outcome:
    """Search for an image in documents.

    IMAGE is the path or the URL of an image. A SOURCE is a document as in `detect`. The best matches are verified, as
    in `compare`.

    The output folder gets matches.json, and matches.png with the image next to each match.
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
    from app.jobs.requests import DetectionOptions, SearchRequest, read

    box = read(SearchRequest, {"xywh": xywh}).box
    turned = (Transposition.NONE, *map(Transposition, dict.fromkeys(transpositions)))
    with open_workspace(out) as workspace:
        reader = DocumentReader(workspace, find_weights(workspace.settings, model), DetectionOptions())
        comparer = Comparer(workspace, ComparisonOptions(backbone, topk=0, verify=0, illustrations=illustrations))
        query = _store_query(workspace, image, box, backbone)
        compared = comparer.compare(reader, open_documents(reader, sources, illustrations=illustrations))
        found = _search(comparer, compared, query, turned, k, verify)
        write_result(out / "matches.json", json.dumps(found, ensure_ascii=False, indent=1).encode())
        draw_pair_sheet(_draw(workspace, compared, query, found["matches"]), out / "matches.png")
    matches = found["matches"]
    lines = [
        *describe_coverage(compared.coverage),
        *(f"{rank:>3}  {_describe(match)}" for rank, match in enumerate(matches, 1)),
        f"{len(matches)} matches in {found['images']} images: {out}/matches.json, matches.png",
    ]
    facts = {"backbone": backbone, "coverage": format_coverage(compared.coverage), **found}
    facts["files"] = ["matches.json", "matches.png"]
    return Outcome(facts, lines, DONE if compared.is_complete else INCOMPLETE)


def _store_query(
    workspace: "Workspace", image: str, box: tuple[int, int, int, int] | None, backbone: str
) -> "QueryImage":
    """Store the image to search for.

    Raises:
        FetchError: The image could not be fetched.
        NotAnImage: The file is not an image.
        RequestError: There is no such file, or the region lies outside of the image.
    """
    from app.errors import RequestError
    from app.images.formats import describe_content, find_format
    from app.jobs.requests.fields import check_url
    from app.pipelines.image_cache import ImageCache
    from app.pipelines.search.query_image import fetch_from_url, load_query
    from app.similarity.backbones import find_shortest
    from app.storage import build_key, write_atomic

    folder = workspace.storage.job(build_key(json.dumps(["query", image, box])))
    folder.remove()
    if "://" in image:
        caches = partial(ImageCache, workspace.storage.images("queries"), workspace.fetcher)
        shortest = find_shortest(backbone)
        fetch_from_url(folder, check_url("IMAGE", image), box, caches, workspace.fetcher, shortest)
        return load_query(folder, box, is_upload=False)
    if not Path(image).is_file():
        raise RequestError(f"{image} does not exist or is no file: name a URL or an image file.")
    data = Path(image).read_bytes()
    if not find_format(data):
        raise RequestError(f"{image} is {describe_content(data)}: name an image.")
    write_atomic(folder.query, data)
    return load_query(folder, box, is_upload=True)


def _search(
    comparer: "Comparer",
    compared: "Compared",
    query: "QueryImage",
    transpositions: tuple[Transposition, ...],
    k: int,
    verify: int,
) -> dict[str, Any]:
    from app.jobs.documents import EmbeddedDocument
    from app.pipelines.search.work import SearchPlan, Stores
    from app.pipelines.search.work import search as find_matches
    from app.pipelines.similarity.feature_store import FeatureStore

    storage = comparer.workspace.storage
    rows = [
        EmbeddedDocument(compared.folder.path.name, number, doc_id)
        for number, doc_id in enumerate(compared.coverage, 1)
        if doc_id in compared.contents
    ]
    stores = Stores(storage, comparer.store, FeatureStore(storage.features))
    embedder, plan = comparer.load_embedder(), SearchPlan(k, verify, transpositions)
    with show_progress("Searching", "document") as report:
        return find_matches(query, rows, stores, embedder, plan, report)


def _describe(match: Mapping[str, Any]) -> str:
    return describe_match(match, f"{match['document']}/{match['image']['name']}")


def _draw(
    workspace: "Workspace", compared: "Compared", query: "QueryImage", matches: Sequence[Mapping[str, Any]]
) -> Iterator["Image.Image"]:
    """Yield the picture of each match, with the image of the search at the left."""
    from PIL import Image

    from app.images.drawn_pairs import LabelledImage, draw_pair
    from app.images.pixels import load_reduced
    from app.jobs.pairs import ComparisonResult

    result = ComparisonResult(compared.folder, compared.coverage)
    whole = Image.fromarray(query.decode(_LONGEST, max))
    for match in matches:
        document = result.load_document(match["document"])
        if document is None:
            continue
        place = list(document.names).index(match["image"]["name"])
        picture = load_reduced(workspace.storage.cached_image(document.files[place]), _LONGEST)
        width, height = document.sizes[place]
        regions = [match[name] and tuple(match[name]) for name in ("region_1", "region_2")]
        yield draw_pair(
            LabelledImage(whole, query.size, ("searched",), regions[0]),
            LabelledImage(picture, (width, height), (match["document"], match["image"]["name"]), regions[1]),
            match["transform"],
            f"{match['verdict'] or 'not verified'}, score {match['score']:.2f}",
        )
