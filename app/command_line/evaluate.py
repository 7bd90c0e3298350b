"""``python -m app evaluate``: weights on a labelled data set."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from app.command_line.options import model_option, out_option
from app.command_line.outcome import DONE, INCOMPLETE, Outcome, format_examples, report_outcome, show_progress
from app.errors import RequestError
from app.sources.page_files import list_files
from app.storage.archives import open_archive

if TYPE_CHECKING:
    from app.command_line.workspace import Workspace
    from app.training.datasets import Dataset

EXAMPLES = format_examples(
    "evaluate pages/ --out evaluation",
    "evaluate pages.zip --yaml classes.yaml --model best_eida.pt --split val --out evaluation --json",
)
# A data set of this machine has no limits but the disk. 1 TB.
_MOST_BYTES = 10**12
_FIGURES = ("precision", "recall", "ap50", "ap75", "ap50_95")


@click.command(epilog=EXAMPLES, short_help="Evaluate weights on a labelled data set.")
@click.argument("dataset", type=click.Path(exists=True, path_type=Path))
@out_option
@model_option
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Default: test, or val without test.")
@click.option(
    "--yaml",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the class names. Default: the only one in the folder or the zip file.",
)
@report_outcome
def evaluate(dataset: Path, out: Path, model: str, split: str | None, yaml: Path | None) -> Outcome:
    """Evaluate weights on a labelled data set: precision, recall, AP50, AP75 and AP50-95.

    DATASET is a folder or a zip file with pages and labels, in YOLO, COCO or another format of docs/training.md.

    The output folder gets report.json, curve.png, and images/ with the true and the detected boxes of up to 200 pages.
    """
    from app.command_line.workspace import find_weights, open_workspace
    from app.detection.weights_description import describe
    from app.jobs.requests import EvaluationRequest

    with open_workspace(out) as workspace:
        from app.detection.loading import load_detector
        from app.detection.weights import isolate_ultralytics
        from app.pipelines.training.work import summarise
        from app.training.evaluate import EVALUATION_CONFIG
        from app.training.evaluate import evaluate as measure

        s = workspace.settings
        weights = find_weights(s, model)
        isolate_ultralytics(workspace.storage.root / "ultralytics")
        size = describe(weights).choose_size(s.model_size)
        config = replace(EVALUATION_CONFIG, size=size, batch_size=s.batch_size, device=s.device)
        with _open_dataset(workspace, dataset, yaml) as found:
            chosen = EvaluationRequest(dataset=dataset.name, split=split or "").choose_split(found.splits)
            detector = load_detector(weights, config)
            with show_progress("Evaluating") as report:
                figures = summarise(measure(detector, found, chosen, out, report, s.confidence))
    facts = {"model": weights.label, "dataset": str(dataset), "split": chosen, **figures}
    return Outcome(facts, [*_describe(facts, out)], INCOMPLETE if figures["unreadable"] else DONE)


@contextmanager
def _open_dataset(workspace: "Workspace", path: Path, yaml: Path | None) -> "Iterator[Dataset]":
    """Check and unpack a data set like an upload; remove the copy at the end.

    Raises:
        RequestError: The data set cannot be used.
    """
    from app.training.datasets import DatasetStore, UploadLimits

    folder = workspace.storage.datasets
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was interrupted
    store = DatasetStore(folder, UploadLimits(_MOST_BYTES))
    try:
        with tempfile.TemporaryFile(dir=workspace.storage.root) if path.is_dir() else path.open("rb") as packed:
            if path.is_dir():
                _pack(path, packed)
            yield store.add(0, "dataset", packed, _read_classes(packed, yaml))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pack(path: Path, packed: IO[bytes]) -> None:
    """Pack the files of a folder, so that it is checked like a zip file."""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for each in list_files(path):
            archive.write(each, each.relative_to(path))
    packed.seek(0)


def _read_classes(packed: IO[bytes], yaml: Path | None) -> bytes:
    """Return the YAML file with the class names.

    Raises:
        RequestError: The data set has no such file, or several.
    """
    if yaml:
        return yaml.read_bytes()
    with open_archive(packed, "DATASET", _MOST_BYTES) as archive:
        found = [member for member in archive.members if member.path.suffix.lower() in (".yaml", ".yml")]
        if len(found) != 1:
            names = ", ".join(str(member.path) for member in found[:5]) or "none"
            raise RequestError(f"DATASET needs one YAML file with class names, and has {names}: name it with --yaml.")
        data = found[0].read()
    packed.seek(0)
    return data


def _describe(facts: Mapping[str, Any], out: Path) -> Iterator[str]:
    """Yield the lines of the summary."""
    yield f"{facts['model']} on {facts['pages']} pages for {facts['split']}, at confidence {facts['confidence']:g}:"
    yield "  class                 illustrations  precision  recall   AP50   AP75  AP50-95"
    for each in (facts["overall"], *facts["classes"]):
        shown = ("–" if each[name] is None else f"{each[name]:.3f}" for name in _FIGURES)
        columns = "  ".join(f"{text:>{width}}" for text, width in zip(shown, (9, 6, 5, 5, 7), strict=True))
        yield f"  {each['name'][:20]:<20}  {each['illustrations']:>13}  {columns}"
    if "ap50" in (intervals := facts["overall"]["intervals"]):  # undefined without labelled illustrations
        ap50, ap75 = (f"{low:.2f} to {high:.2f}" for low, high in (intervals["ap50"], intervals["ap75"]))
        drawn = f"{facts['documents']} documents" if facts["documents"] else "pages of one document"
        yield f"  95 % intervals, from resampled {drawn}: AP50 {ap50}, AP75 {ap75}"
    for page in facts["unreadable"][:10]:
        yield f"  {page['image_name']} failed: {page['reason']}"
    yield f"  {out}: report.json, curve.png, images/"
