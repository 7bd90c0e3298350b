"""``python -m app detect``: the illustrations of documents, as annotation files and pictures."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.command_line.outcome import (
    DONE,
    FAILED,
    INCOMPLETE,
    Outcome,
    explain,
    format_examples,
    report_outcome,
    show_progress,
    warn,
)
from app.exports import FORMATS

if TYPE_CHECKING:
    from app.command_line.documents import Document
    from app.command_line.workspace import Workspace

EXAMPLES = format_examples(
    "detect https://iiif.io/api/cookbook/recipe/0009-book-1/manifest.json --out results",
    "detect scans/ codex.pdf --out results --format coco --format csv",
    "detect iiif/sample --out results --json",
)


# Failed pages of a document that the summary lists.
_MOST_FAILURES = 10


@click.command(epilog=EXAMPLES, short_help="Detect the illustrations of documents.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--model", default="", metavar="NAME|FILE.pt", help="Detection weights: see `python -m app models`.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice([*FORMATS]),
    default=("text", "json"),
    show_default=True,
    help="Format of the annotations. Repeat it for several.",
)
@click.option("--image-size", default="", metavar="PIXELS|full", help="Longer side of the requested images.")
@click.option("--tiles", type=click.Choice(["auto", "off"]), default="off", help="`auto` cuts very large pages.")
@click.option("--pictures/--no-pictures", default=True, help="Draw overlays and contact sheets.")
@click.option("--refresh", is_flag=True, help="Fetch documents and images again.")
@report_outcome
def detect(
    sources: Sequence[str],
    out: Path,
    model: str,
    formats: Sequence[str],
    image_size: str,
    tiles: str,
    pictures: bool,
    refresh: bool,
) -> Outcome:
    """Detect the illustrations of documents.

    A SOURCE is the URL of a IIIF manifest or collection, a zip file of images, a PDF, or a list of image URLs. It may
    also be the path of such a file, of an image, or of a folder of images.

    Each document gets a folder in the output folder. A second run with the same output folder continues. It fetches
    only what is missing, and tries failed pages again.
    """
    from app.command_line.documents import DocumentReader
    from app.command_line.workspace import find_weights, open_workspace
    from app.errors import ExtractorError
    from app.iiif.collection import Collection
    from app.jobs.requests import DetectionOptions, read

    options = read(DetectionOptions, {"image_size": image_size, "tiles": tiles})
    with open_workspace(out) as workspace:
        weights = find_weights(workspace.settings, model)
        reader = DocumentReader(workspace, weights, options, refresh=refresh)
        waiting, seen, results = deque(dict.fromkeys(sources)), set(sources), list[dict[str, Any]]()
        while waiting:
            source = waiting.popleft()
            try:
                document = reader.open(source)
                if isinstance(document, Collection):
                    members = [url for url in reader.expand(document) if url not in seen]
                    seen.update(members)
                    waiting.extendleft(reversed(members))
                    continue
                reader.fetch(document)
                reader.detect(document)
                results.append(_write(workspace, document, weights.label, formats, pictures))
            except (ExtractorError, OSError) as error:
                known = explain(error)
                warn(f"Error: {'' if source in known.message else f'{source}: '}{known.message}")
                results.append({"source": source, "error": {"code": known.code, "message": known.message}})
    return Outcome({"model": weights.label, "documents": results}, [*_describe(results)], _choose_exit_code(results))


def _write(
    workspace: "Workspace", document: "Document", model: str, formats: Sequence[str], pictures: bool
) -> dict[str, Any]:
    """Write the result of a document into a folder of its own; return its description."""
    from app.command_line.pictures import draw_document
    from app.command_line.workspace import write_result
    from app.exports.document import load_document

    folder = workspace.name_result(document.source, document.manifest.ref)
    folder.mkdir(exist_ok=True)
    exported = load_document(
        document.folder,
        asdict(document.request),
        document.images,
        folder.resolve().as_uri(),
        ref=document.manifest.ref,
        model=model,
    )
    files = []
    for name in dict.fromkeys(formats):
        content = FORMATS[name].write(exported)
        files.append(f"annotations{FORMATS[name].ending}")
        write_result(folder / files[-1], content.encode() if isinstance(content, str) else content)
    if pictures:
        with show_progress(f"Drawing {document.manifest.ref}") as report:
            files += draw_document(document, folder, report)
    return {
        "source": document.source,
        "manifest_ref": document.manifest.ref,
        "folder": str(folder),
        "files": files,
        "coverage": document.count_coverage().as_json(),
        "error": None,
    }


def _describe(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the summary."""
    for result in results:
        if result["error"]:
            continue
        coverage = result["coverage"]
        failed = coverage["failed"]
        yield (
            f"{result['manifest_ref']}: {coverage['detected']} page{'s' * (coverage['detected'] != 1)} with "
            f"illustrations, {coverage['empty']} without, {len(failed)} failed"
        )
        for page in failed[:_MOST_FAILURES]:
            yield f"  page {page['canvas_number']} failed: {page['reason']}"
        if len(failed) > _MOST_FAILURES:
            yield f"  and {len(failed) - _MOST_FAILURES} more: see annotations.json"
        sheets = [name for name in result["files"] if name.startswith("contact-sheet-")][1:-1]
        shown = ", ".join(name for name in result["files"] if name not in sheets)
        yield f"  {result['folder']}: {shown}{f' and {len(sheets)} more sheets' if sheets else ''}"


def _choose_exit_code(results: Sequence[dict[str, Any]]) -> int:
    if any(result["error"] for result in results):
        return FAILED
    return INCOMPLETE if any(result["coverage"]["failed"] for result in results) else DONE
