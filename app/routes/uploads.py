"""Data sets for training and evaluation: ``/send-data``, ``/send-dataset``, ``/datasets``."""

from pathlib import PurePath
from typing import Annotated

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic.dataclasses import dataclass

from app.errors import NotFound, RequestError
from app.jobs.description import format_moment
from app.routes.answers import DatasetAnswer, DatasetDone, Datasets, SplitAnswer
from app.routes.large_bodies import receive_upload
from app.routes.operations import MULTIPART, File, answers, takes_body
from app.services import current_services
from app.training.dataset_records import SPLITS
from app.training.dataset_yaml import MOST_BYTES
from app.training.datasets import Dataset, DatasetStore

routes = Blueprint("datasets", __name__)

Yaml = Annotated[File, Field(description="A YAML file with the names of the classes, such as `names: [illustration]`.")]
Name = Annotated[str, Field(description="The name of the data set. Default: the name of yaml_file.")]
Split = Annotated[str, Field(json_schema_extra={"enum": list(SPLITS)})]


@dataclass(frozen=True)
class DataUpload:
    """The pages of a data set for one purpose."""

    img_zip: Annotated[File, Field(description="A zip file of images.")]
    anno_zip: Annotated[File, Field(description="A zip file of label files, one .txt file per image.")]
    yaml_file: Yaml
    action: Annotated[Split, Field(description="The purpose of the pages: train, val or test.")]
    name: Name = ""


@dataclass(frozen=True)
class DatasetUpload:
    """A whole data set."""

    dataset_zip: Annotated[
        File,
        Field(
            description="A zip file with images/train, images/val, images/test and the same folders in labels, or "
            "an export of CVAT, Label Studio, Roboflow, LabelImg, LabelMe or COCO."
        ),
    ]
    yaml_file: Yaml
    action: Annotated[
        Split | None, Field(description="The purpose of the pages if the zip file does not name it. Default: test.")
    ] = None
    name: Name = ""


@routes.post("/send-data")
@receive_upload()
@takes_body(DataUpload, [MULTIPART])
@answers(DatasetDone, errors=[507])
def send_data(upload: DataUpload) -> ResponseReturnValue:
    """Upload the pages of a data set for one purpose.

    They replace the existing pages of the data set for the same purpose. Pages for other purposes are kept.
    """
    name, yaml = _read_description(upload)
    images, labels = upload.img_zip.stream, upload.anno_zip.stream
    dataset = _store().add_split(g.client.id, name, upload.action, images, labels, yaml)
    message = f"The data set {dataset.name} has {_count_images(dataset, upload.action)} now."
    return jsonify(DatasetDone(message=message, dataset=_describe(dataset)))


@routes.post("/send-dataset")
@receive_upload()
@takes_body(DatasetUpload, [MULTIPART])
@answers(DatasetDone, errors=[507])
def send_dataset(upload: DatasetUpload) -> ResponseReturnValue:
    """Upload a complete data set.

    It replaces an existing data set with the same name.
    """
    name, yaml = _read_description(upload)
    dataset = _store().add(g.client.id, name, upload.dataset_zip.stream, yaml, upload.action)
    counts = ", ".join(_count_images(dataset, split) for split in dataset.splits)
    return jsonify(DatasetDone(message=f"The data set {dataset.name} has {counts}.", dataset=_describe(dataset)))


@routes.get("/datasets")
@answers(Datasets)
def list_datasets() -> ResponseReturnValue:
    """List your data sets by name."""
    return jsonify(Datasets(datasets=[_describe(dataset) for dataset in _store().list(g.client.id)]))


@routes.delete("/datasets/<name>")
@answers(DatasetDone)
def remove_dataset(name: str) -> ResponseReturnValue:
    """Delete a data set.

    Jobs that have started keep their copy of the pages.
    """
    try:
        dataset = _store().remove(g.client.id, name)
    except RequestError as error:
        raise NotFound(error.message) from error
    return jsonify(DatasetDone(message=f"The data set {dataset.name} is removed.", dataset=_describe(dataset)))


def _describe(dataset: Dataset) -> DatasetAnswer:
    changed = format_moment(dataset.changed, "seconds")
    splits = {
        split: SplitAnswer(images=each.images, illustrations=each.illustrations, empty=each.empty)
        for split, each in dataset.splits.items()
    }
    return DatasetAnswer(name=dataset.name, classes=list(dataset.classes), splits=splits, changed=changed)


def _count_images(dataset: Dataset, split: str) -> str:
    number = dataset.splits[split].images
    return f"{number} image{'' if number == 1 else 's'} for {split}"


def _read_description(upload: DataUpload | DatasetUpload) -> tuple[str, bytes]:
    """Return the name and the YAML file of a data set."""
    name = upload.name or PurePath(upload.yaml_file.filename or "").name
    return name, upload.yaml_file.stream.read(MOST_BYTES + 1)


def _store() -> DatasetStore:
    return current_services.datasets
