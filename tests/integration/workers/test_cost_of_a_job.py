"""The cost of a detection job of one page. ``python -m bench jobs`` measures its seconds."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import event

from app.demo.client_app import RecordingClientApp, serve
from app.demo.iiif_server import create_iiif_server
from app.jobs.states import QUEUES
from tests.support.yolov5_networks import make_network, save


@pytest.fixture
def settings(settings: Any) -> Any:
    save(settings.models_folder / "illustrations.pt", model=make_network(names=["drawing"]))
    changes = {"trusted_hosts": ("127.0.0.1",), "model_size": 64, "device": "cpu"}
    return settings.model_copy(update=changes)


@pytest.fixture
def paths() -> list[str]:
    """The paths that the library was asked for."""
    return []


@pytest.fixture
def manifest_url(tmp_path: Path, paths: list[str]) -> Iterator[str]:
    (tmp_path / "document").mkdir()
    Image.new("RGB", (400, 300), "white").save(tmp_path / "document" / "a.jpg")
    library = create_iiif_server(tmp_path / "document")
    library.before_request(lambda: paths.append(request.path))
    with serve(library) as url:
        yield f"{url}/manifest.json"


def test_a_job_of_one_page_is_cheap(
    app: Flask,
    client: FlaskClient,
    headers: dict[str, str],
    client_app: tuple[RecordingClientApp, str],
    manifest_url: str,
    paths: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue, (receiver, callback) = app.extensions["queue"], client_app
    queue.loader.import_default_modules()
    queue.services.broker.flushdb()
    form = {"manifest_url": manifest_url, "callback": callback}
    job_id = client.post("/run_detect", headers=headers, data=form).json["job_id"]
    statements: list[str] = []
    commits: list[object] = []
    synced: list[int] = []
    event.listen(queue.services.database.engine, "before_cursor_execute", lambda *of: statements.append(of[2]))
    event.listen(queue.services.database.engine, "commit", commits.append)
    monkeypatch.setattr(os, "fsync", synced.append)
    for task in ("download", "run", "deliver"):
        queue.tasks[task]()
    assert len(statements) <= 28
    assert len(commits) <= 15
    assert len(synced) == 5  # the manifest, the image, the record of the page, and the two files of the result
    job = queue.services.jobs.find(job_id)
    assert (job.state, job.done, job.total, len(receiver.received)) == ("done", 1, 1, 1), job.error_message
    # One message each for the download, the detection and the delivery.
    assert [queue.services.broker.llen(name) for name in QUEUES] == [1, 1, 1]
    assert len(paths) == 3  # the manifest, a strip that confirms its sizes, and the image
