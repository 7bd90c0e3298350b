"""Labelled pages for training and testing: ``/send-data``, ``/send-dataset``, ``/datasets``.

Uploads are larger than other requests and take longer, so only a few are received at a time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import IO, Any

from filelock import AcquireReturnProxy, FileLock, Timeout
from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from app.errors import Busy, NotFound, RequestError
from app.server.deadline import allow
from app.services import current_services
from app.storage import check_space, full_disk_in_a_sentence
from app.training.dataset_yaml import MOST_BYTES
from app.training.datasets import Dataset, DatasetStore

routes = Blueprint("datasets", __name__)

# Of the 16 threads that serve requests, so many may be busy with uploads.
MOST_UPLOADS = 4
YAML = "a YAML file with the names of the classes"


@routes.post("/send-data")
def send_data() -> ResponseReturnValue:
    with _receive():
        images = _find_upload("img_zip", "a zip file of images")
        labels = _find_upload("anno_zip", "a zip file of label files, a .txt for each image")
        name, yaml = _read_description()
        split = request.form.get("action", "").strip()
        if not split:
            raise RequestError("action is missing: send train, val or test.")
        dataset = _store().add_split(g.client.id, name, split, images, labels, yaml)
    message = f"The data set {dataset.name} has {_count_images(dataset, split)} now."
    return jsonify(message=message, dataset=describe_dataset(dataset))


@routes.post("/send-dataset")
def send_dataset() -> ResponseReturnValue:
    with _receive():
        upload = _find_upload("dataset_zip", "a zip file with the folders images and labels")
        name, yaml = _read_description()
        flat = request.form.get("action", "").strip() or "test"
        dataset = _store().add(g.client.id, name, upload, yaml, flat)
    counts = ", ".join(_count_images(dataset, split) for split in dataset.splits)
    return jsonify(message=f"The data set {dataset.name} has {counts}.", dataset=describe_dataset(dataset))


@routes.get("/datasets")
def list_datasets() -> ResponseReturnValue:
    return jsonify(datasets=[describe_dataset(dataset) for dataset in _store().list(g.client.id)])


@routes.delete("/datasets/<name>")
def remove_dataset(name: str) -> ResponseReturnValue:
    try:
        dataset = _store().remove(g.client.id, name)
    except RequestError as error:
        raise NotFound(error.message) from error
    return jsonify(message=f"The data set {dataset.name} is removed.", dataset=describe_dataset(dataset))


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return a data set as the answers show it."""
    return {
        "name": dataset.name,
        "classes": dataset.classes,
        "splits": {split: vars(counts) for split, counts in dataset.splits.items()},
        "changed": datetime.fromtimestamp(dataset.changed, UTC).isoformat(timespec="seconds"),
    }


def _count_images(dataset: Dataset, split: str) -> str:
    number = dataset.splits[split].images
    return f"{number} image{'' if number == 1 else 's'} for {split}"


@contextmanager
def _receive() -> Iterator[None]:
    """Let the request in hand be as large and take as long as an upload may, if there are not too many of them.

    Nothing of its body was read yet: whoever has no key is answered before.
    """
    limits, parts = _store().limits, _store().parts
    parts.mkdir(parents=True, exist_ok=True)
    with _take_turn(parts), full_disk_in_a_sentence():
        request.max_content_length = limits.upload_bytes
        check_space(parts, min(request.content_length or 0, request.max_content_length))
        request.spool = parts  # type: ignore[attr-defined]
        end = time.monotonic() + limits.seconds
        # Who sends nothing for long does not keep his turn.
        request.before_piece = lambda: allow(  # type: ignore[attr-defined]
            min(current_services.settings.request_seconds, end - time.monotonic())
        )
        request.files.get("yaml_file")  # all is read now
        allow(end - time.monotonic())
        yield


def _take_turn(folder: Path) -> AcquireReturnProxy:
    """Acquire one of the locks of uploads, which all processes of the API share."""
    for number in range(MOST_UPLOADS):
        with suppress(Timeout):
            return FileLock(folder / f"turn-{number}").acquire(blocking=False)
    raise Busy(f"{MOST_UPLOADS} data sets are being received just now: send yours again in a minute.")


def _find_upload(field: str, wanted: str) -> IO[bytes]:
    return _find_file(field, wanted).stream


def _find_file(field: str, wanted: str) -> FileStorage:
    upload = request.files.get(field)
    if upload is None:
        raise RequestError(f"{field} is missing: send {wanted}.")
    return upload


def _read_description() -> tuple[str, bytes]:
    """Return the name of a data set, and what describes it."""
    upload = _find_file("yaml_file", YAML)
    name = request.form.get("name", "").strip() or PurePath(upload.filename or "").name
    return name, upload.stream.read(MOST_BYTES + 1)


def _store() -> DatasetStore:
    store: DatasetStore = current_services.datasets
    return store
