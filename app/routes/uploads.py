"""Labelled pages for training and testing: ``/send-data``, ``/send-dataset``, ``/datasets``.

Uploads are larger than other requests and take longer, so only a few are received at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Annotated

from filelock import AcquireReturnProxy, FileLock, Timeout
from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic.dataclasses import dataclass

from app.errors import Busy, NotFound, RequestError
from app.routes.answers import DatasetAnswer, DatasetDone, Datasets, SplitAnswer
from app.routes.operations import MULTIPART, File, answers, takes_body
from app.server.request_limits import allow
from app.services import current_services
from app.storage import check_space, translate_disk_full
from app.training.dataset_records import SPLITS
from app.training.dataset_yaml import MOST_BYTES
from app.training.datasets import Dataset, DatasetStore

routes = Blueprint("datasets", __name__)

# Uploads that all processes together receive at the same time.
MOST_UPLOADS = 4

Yaml = Annotated[File, Field(description="A YAML file with the names of the classes.")]
Name = Annotated[str, Field(description="Name of the data set; else that of yaml_file.")]
Split = Annotated[str, Field(json_schema_extra={"enum": list(SPLITS)})]


@dataclass(frozen=True)
class DataUpload:
    """Pages for one purpose."""

    img_zip: Annotated[File, Field(description="A zip file of images.")]
    anno_zip: Annotated[File, Field(description="A zip file of label files, a .txt for each image.")]
    yaml_file: Yaml
    action: Annotated[Split, Field(description="train, val or test.")]
    name: Name = ""


@dataclass(frozen=True)
class DatasetUpload:
    """A whole data set."""

    dataset_zip: Annotated[File, Field(description="A zip file with the folders images and labels.")]
    yaml_file: Yaml
    action: Annotated[Split, Field(description="Purpose of pages that do not lie in the folder of one.")] = "test"
    name: Name = ""


@contextmanager
def _receive() -> Iterator[None]:
    """Give the current request the size and the time of an upload, unless too many are being received.

    Nothing of its body was read yet: requests without a key are rejected before.
    """
    limits, parts = _store().limits, _store().parts
    parts.mkdir(parents=True, exist_ok=True)
    with _take_turn(parts), translate_disk_full():
        request.max_content_length = limits.upload_bytes
        check_space(parts, min(request.content_length or 0, request.max_content_length))
        request.spool = parts  # type: ignore[attr-defined]
        allow(limits.seconds, silence=current_services.settings.request_seconds)
        yield


def _take_turn(folder: Path) -> AcquireReturnProxy:
    """Acquire one of the locks of uploads, which all processes of the API share."""
    for number in range(MOST_UPLOADS):
        with suppress(Timeout):
            return FileLock(folder / f"turn-{number}").acquire(blocking=False)
    raise Busy(f"{MOST_UPLOADS} data sets are being received just now: send yours again in a minute.")


@routes.post("/send-data")
@_receive()
@takes_body(DataUpload, [MULTIPART])
@answers(DatasetDone, refuses=[507])
def send_data(upload: DataUpload) -> ResponseReturnValue:
    """Add pages for a purpose to a data set, or replace them: a zip file of images and one of their labels."""
    name, yaml = _read_description(upload)
    images, labels = upload.img_zip.stream, upload.anno_zip.stream
    dataset = _store().add_split(g.client.id, name, upload.action, images, labels, yaml)
    message = f"The data set {dataset.name} has {_count_images(dataset, upload.action)} now."
    return jsonify(DatasetDone(message=message, dataset=_describe(dataset)))


@routes.post("/send-dataset")
@_receive()
@takes_body(DatasetUpload, [MULTIPART])
@answers(DatasetDone, refuses=[507])
def send_dataset(upload: DatasetUpload) -> ResponseReturnValue:
    """Send a whole data set: folders images and labels in a zip file."""
    name, yaml = _read_description(upload)
    dataset = _store().add(g.client.id, name, upload.dataset_zip.stream, yaml, upload.action)
    counts = ", ".join(_count_images(dataset, split) for split in dataset.splits)
    return jsonify(DatasetDone(message=f"The data set {dataset.name} has {counts}.", dataset=_describe(dataset)))


@routes.get("/datasets")
@answers(Datasets)
def list_datasets() -> ResponseReturnValue:
    """List your data sets, by name."""
    return jsonify(Datasets(datasets=[_describe(dataset) for dataset in _store().list(g.client.id)]))


@routes.delete("/datasets/<name>")
@answers(DatasetDone)
def remove_dataset(name: str) -> ResponseReturnValue:
    """Remove a data set. Jobs that have begun keep its pages."""
    try:
        dataset = _store().remove(g.client.id, name)
    except RequestError as error:
        raise NotFound(error.message) from error
    return jsonify(DatasetDone(message=f"The data set {dataset.name} is removed.", dataset=_describe(dataset)))


def _describe(dataset: Dataset) -> DatasetAnswer:
    changed = datetime.fromtimestamp(dataset.changed, UTC).isoformat(timespec="seconds")
    splits = {
        split: SplitAnswer(images=each.images, illustrations=each.illustrations, empty=each.empty)
        for split, each in dataset.splits.items()
    }
    return DatasetAnswer(name=dataset.name, classes=list(dataset.classes), splits=splits, changed=changed)


def _count_images(dataset: Dataset, split: str) -> str:
    number = dataset.splits[split].images
    return f"{number} image{'' if number == 1 else 's'} for {split}"


def _read_description(upload: DataUpload | DatasetUpload) -> tuple[str, bytes]:
    """Return the name of a data set, and the YAML file that describes it."""
    name = upload.name or PurePath(upload.yaml_file.filename or "").name
    return name, upload.yaml_file.stream.read(MOST_BYTES + 1)


def _store() -> DatasetStore:
    return current_services.datasets
