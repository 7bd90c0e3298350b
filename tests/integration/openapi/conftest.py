"""Fixtures: an application with jobs in all states, from which each test gets a copy of the files."""

import io
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

from app import create_app
from app.auth import add_app
from app.config import Settings
from app.database.tables import Job
from app.delivery.kinds import Kind
from app.delivery.outbox import enqueue
from app.delivery.payloads import Destination
from app.delivery.result_parts import enqueue_parts
from app.demo.service import choose_settings
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.detection.corrections import CorrectedBox, Correction, save_correction
from app.exports.annotation_files import describe_pages, format_text
from app.jobs.states import STAGES
from app.storage import write_atomic
from app.training.dataset_records import SPLITS
from tests.conftest import hide_settings
from tests.support.archives import BOX as BOX_ROW
from tests.support.archives import YAML, make_image, make_zip
from tests.support.checkpoints import make_module, save_records
from tests.support.comparison_results import SAME, save_result, save_verified
from tests.support.rows import change_job

MANIFEST = "https://library.example/manifest.json"
BOX = BoxRecord((1, 2, 3, 4), 0.9, 0, "illustration")
PAGE_FILES = [("images", "jpg", make_image()), ("labels", "txt", BOX_ROW)]
UPLOADS = {
    "img_zip": make_zip({"a.jpg": make_image()}).getvalue(),
    "anno_zip": make_zip({"a.txt": BOX_ROW}).getvalue(),
    "dataset_zip": make_zip(
        {f"{folder}/{split}/a.{ending}": content for split in SPLITS for folder, ending, content in PAGE_FILES}
    ).getvalue(),
    "yaml_file": YAML,
}
PAGES = [
    AnnotatedPage(1, "https://library.example/1", "1.jpg", 800, 600, PageStatus.DETECTED, (BOX,)),
    AnnotatedPage(2, "", "2.jpg", None, None, PageStatus.FAILED, reason="It is gone."),
]


def place(folder: Path, broker_url: str) -> Settings:
    """Return settings without rate limits, with all files in a folder."""
    places = {"database_url": f"sqlite:///{folder}/service.db", "models_folder": folder / "models"}
    off = {"rate_limit": "off", "rate_limit_address": "off"}
    return choose_settings(folder, celery_broker_url=broker_url, **places, **off)


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, broker_url: str, make_database: Callable[[Path], str]
) -> Iterator[Flask]:
    """An application to which the following fixtures add jobs; each test has a copy of its files."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "models").mkdir()
    save_records(folder / "models" / "illustrations.pt", make_module())
    make_database(folder / "service.db")
    with pytest.MonkeyPatch.context() as patch:
        hide_settings(patch)
        app = create_app(place(folder, broker_url))
        yield app
        app.extensions["queue"].close()
        app.extensions["services"].database.close()


@pytest.fixture
def settings(
    original: Flask, job_ids: list[str], fronts: Any, _dataset: None, tmp_path: Path, broker_url: str
) -> Settings:
    """The settings of a copy of the original, with its jobs."""
    shutil.copytree(original.extensions["services"].settings.data_folder, tmp_path / "copy")
    with redis.Redis.from_url(broker_url) as broker:
        broker.flushdb()
    return place(tmp_path / "copy", broker_url)


@pytest.fixture(scope="module")
def headers(original: Flask) -> dict[str, str]:
    return {"X-API-Key": add_app(original.extensions["services"].database, "front")}


@pytest.fixture(scope="module")
def compared(original: Flask, headers: dict[str, str]) -> str:
    """A similarity job in state done, with failed images."""
    app, client = original, original.test_client()
    body = {"documents": {"a": MANIFEST, "b": MANIFEST}, "transpositions": ["hflip"]}
    job_id: str = client.post("/run_similarity", headers=headers, json=body).json["job_id"]
    jobs, folder = app.extensions["services"].jobs, app.extensions["services"].storage.job(job_id)
    for stage in STAGES:
        jobs.finish_stage(jobs.lease_next(stage), stage, 1.0)
    failed = [{"image_name": "x", "reason": "It is gone."}]
    documents = [{"doc_id": each, "images": 2, "usable": 1, "failed": failed, "error": None} for each in ("a", "b")]
    change_job(app.extensions["services"].database, job_id, coverage={"documents": documents})
    with app.extensions["services"].database.session() as session:
        to = Destination("https://app.example/similarity", "https://app.example")
        enqueue_parts(session, session.get(Job, job_id), to, {"a-a": "1", "a-b": "2", "b-b": "3"})
    save_result(folder, ["a", "b"])
    images, verified = {"a": ["1", "2"], "b": ["1", "2"]}, {("a", 0, "b", 1): SAME}
    save_verified(app.extensions["services"].storage, job_id, images, verified)
    services, job = app.extensions["services"], jobs.find(job_id)
    services.documents.record(job, {"a": MANIFEST, "b": MANIFEST})
    services.documents.record_content(job, "a", "content of a")
    return job_id


@pytest.fixture(scope="module")
def searched(original: Flask, headers: dict[str, str], compared: str) -> str:
    """A search in state done."""
    app, client = original, original.test_client()
    job_id: str = client.post("/search", headers=headers, json={"image_url": MANIFEST}).json["job_id"]
    services = app.extensions["services"]
    write_atomic(
        services.storage.job(job_id).matches, json.dumps({"documents": 1, "images": 2, "matches": []}).encode()
    )
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    return job_id


@pytest.fixture(scope="module")
def job_ids(original: Flask, headers: dict[str, str], compared: str, searched: str) -> list[str]:
    """Six jobs: done with a failed canvas, cancelled, queued, queued, and a search and a similarity job, both done."""
    app, client = original, original.test_client()
    jobs = [client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json for _ in range(4)]
    done, cancelled, *waiting = [job["job_id"] for job in jobs]
    client.post(f"/jobs/{cancelled}/cancel", headers=headers)
    jobs, folder = app.extensions["services"].jobs, app.extensions["services"].storage.job(done)
    for stage in STAGES:
        jobs.finish_stage(jobs.lease_next(stage), stage, 1.0)
    coverage = {"detected": 1, "empty": 0, "failed": [{"canvas_number": 2, "reason": "It is gone."}]}
    change_job(app.extensions["services"].database, done, coverage=coverage)
    with app.extensions["services"].database.session() as session:
        enqueue(
            session, session.get(Job, done), Kind.RESULT, Destination("https://app.example/in/x", "https://app.example")
        )
    folder.path.mkdir(parents=True)
    folder.annotations.write_text(format_text(PAGES))
    folder.annotations_json.write_text(json.dumps(describe_pages(PAGES)))
    services = app.extensions["services"]
    save_correction(folder, 1, Correction((CorrectedBox((1, 2, 3, 4), "initial"),), "somebody", 1.0))
    folder.pages.save({1: {"file": "1.image"}})
    write_atomic(services.storage.images(MANIFEST) / "1.image", make_image())
    return [done, cancelled, *waiting, searched, compared]


@pytest.fixture(scope="module")
def _dataset(original: Flask, headers: dict[str, str]) -> None:
    """A data set with the name ``eida``."""
    client = original.test_client()
    form = {field: (io.BytesIO(UPLOADS[field]), "eida.yaml") for field in ("dataset_zip", "yaml_file")}
    assert client.post("/send-dataset", headers=headers, data=form).status_code == 200


@pytest.fixture(scope="module")
def fronts(original: Flask, headers: dict[str, str], job_ids: list[str]) -> dict[str, Callable[[str], str]]:
    """Tasks of a front in state done: regions, similarity and indexing; functions that give a value for a path."""
    app, client = original, original.test_client()
    documents, ids, parts = [{"type": "url_list", "src": MANIFEST, "uid": "a"}], {}, {}
    services = app.extensions["services"]
    for task in ("regions", "similarity", "search/indexing", "search/query"):
        body = {"documents": documents, "index_id": ids.get("search/indexing", ""), "feat_net": "illustrations"}
        if task == "search/query":
            body["documents"] = [documents[0] | {"uid": "b"}]
        ids[task] = client.post(f"/{task}/start", headers=headers, json=body).json["tracking_id"]
        (part,) = services.jobs.list_parts(services.jobs.find(uuid.UUID(ids[task]).hex))
        change_job(services.database, part.id, state="done", finished=1.0)
        parts[task], folder = part.id, services.storage.job(part.id)
        save_result(folder, ["b", "a"] if task == "search/query" else ["a"])
        write_atomic(folder.annotations_json, json.dumps(describe_pages(PAGES)).encode())
    results = {"/similarity/results/{name}": f"a-a+{parts['similarity']}.json"}
    return {
        "tracking_id": lambda path: next((ids[task] for task in ids if path.startswith(f"/{task}/")), ids["regions"]),
        "name": lambda path: results.get(path, f"illustrations+{parts['regions']}.json"),
        "doc_id": lambda path: "a",
    }
