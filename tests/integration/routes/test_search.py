import errno
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.auth import add_app
from app.errors import ExtractorError, NotAnImage, OutOfMemory
from app.jobs.states import DOWNLOAD, RUN, State
from app.routes import search as route
from app.services import Services
from app.storage import write_atomic
from tests.support.comparing import draw
from tests.support.rows import change_job

URL = "https://library.example/image.jpg"
MANIFEST = "https://library.example/manifest.json"
MODEL = "resnet34"
MATCH = {
    "score": 0.9,
    "transposition": "none",
    "document": "a",
    "image": {"name": "1", "url": URL},
    "verdict": "same",
    "probability": 0.99,
    "inliers": 40,
    "region_1": [0, 0, 50, 60],
    "region_2": [5, 5, 100, 120],
    "transform": [2.0, 0.0, 5.0, 0.0, 2.0, 5.0],
}
UNVERIFIED = MATCH | dict.fromkeys(("verdict", "probability", "inliers", "region_1", "region_2", "transform"))


def embed(services: Services, client: FlaskClient, headers: dict[str, str], *doc_ids: str, **fields: Any) -> str:
    """Submit a similarity job, and record that its documents are embedded."""
    body = {"documents": {doc_id: f"https://app.example/{doc_id}" for doc_id in doc_ids}, "model": MODEL} | fields
    job = services.jobs.find(client.post("/run_similarity", headers=headers, json=body).json["job_id"])
    services.documents.record(job, {doc_id: doc_id for doc_id in doc_ids})
    for doc_id in doc_ids:
        services.documents.record_content(job, doc_id, f"content of {doc_id}")
    return job.id


@pytest.fixture
def _embedded(services: Services, client: FlaskClient, headers: dict[str, str]) -> None:
    embed(services, client, headers, "a", "b")


def send(client: FlaskClient, headers: dict[str, str], **fields: Any) -> Any:
    return client.post("/search", headers=headers, json={"image_url": URL, "model": MODEL} | fields)


def upload(client: FlaskClient, headers: dict[str, str], content: bytes, **fields: str) -> Any:
    form = {"image": (io.BytesIO(content), "x.png"), "model": MODEL} | fields
    return client.post("/search", headers=headers, data=form)


@pytest.mark.usefixtures("_embedded")
def test_a_search_is_queued_at_once_without_a_worker(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    answer = send(client, headers, xywh=[1, 2, 3, 4], documents=["b"], k=5, verify=0, transpositions="hflip")
    assert (answer.status_code, answer.json["message"]) == (200, "The search is queued.")
    job = services.jobs.find(answer.json["job_id"])
    assert (job.kind, job.state, job.request["xywh"], job.request["k"]) == ("search", "queued", "1,2,3,4", 5)
    shown = client.get(f"/jobs/{job.id}", headers=headers).json
    assert (shown["kind"], shown["image_url"], shown["documents"]) == ("search", URL, ["b"])
    assert shown["transpositions"] == ["none", "hflip"]
    missing = client.get(f"/jobs/{job.id}/matches", headers=headers)
    assert (missing.status_code, "no matches yet" in missing.json["message"]) == (400, True)


@pytest.mark.usefixtures("_embedded")
def test_an_upload_is_stored_and_needs_no_download(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    answer = upload(client, headers, draw(1), documents='["a"]', xywh="1, 2, 3, 4")
    job = services.jobs.find(answer.json["job_id"])
    assert (job.state, job.request["documents"], job.request["xywh"]) == ("running", ["a"], "1,2,3,4")
    assert services.storage.job(job.id).query.read_bytes() == draw(1)
    leased = services.jobs.lease_next(RUN)
    assert leased is not None
    assert leased.id == job.id


@pytest.mark.usefixtures("_embedded")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_url": ""}, "has no image: send one of image, image_url and job_id"),
        ({"job_id": "0" * 32}, "has both image_url and job_id"),
        ({"image_url": "nowhere"}, "image_url is not a web address"),
        ({"image": "x"}, "image must be a file"),
        ({"xywh": "1,2,0,4"}, "xywh must be x,y,width,height in whole pixels"),
        ({"xywh": [1, 2, 3]}, "xywh must be x,y,width,height"),
        ({"xywh": f"1,2,3,{'0' * 9}"}, "xywh must be x,y,width,height"),
        ({"xywh": f"1,2,3,{'0' * 5000}4"}, "xywh must be x,y,width,height"),
        ({"xywh": {}}, "xywh must be text"),
        ({"model": "odd"}, "model"),
        ({"model": "illustrations"}, "no documents that were embedded by illustrations: compare some first"),
        ({"pooling": "gem"}, "embedded by resnet34 with pooling gem"),
        ({"documents": ["a", "z"]}, "documents: 'z' was not embedded by resnet34"),
        ({"documents": ["../a"]}, "is a path"),
        ({"k": 0}, "k must be a whole number from 1 to 1000"),
        ({"verify": 101}, "verify must be a whole number from 0 to 100"),
        ({"canvas_number": 1}, "canvas_number and index need a job_id"),
        ({"image_url": "", "job_id": "0" * 32}, "job_id needs canvas_number and one of index and xywh"),
        ({"image_url": "", "job_id": "0" * 32, "canvas_number": 1, "index": 1}, "job_id is the ID of a job that does"),
    ],
)
def test_an_invalid_search_is_400(
    client: FlaskClient, headers: dict[str, str], fields: dict[str, Any], said: str
) -> None:
    answer = send(client, headers, **fields)
    assert (answer.status_code, said in answer.json["message"]) == (400, True), answer.json


@pytest.mark.usefixtures("_embedded")
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"<html>", "image is an HTML page"), (b"", "image is data in an unsupported format"), (b"%PDF", "a PDF")],
)
def test_an_upload_that_is_no_image_is_400(
    services: Services, client: FlaskClient, headers: dict[str, str], content: bytes, said: str
) -> None:
    answer = upload(client, headers, content)
    assert (answer.status_code, said in answer.json["message"]) == (400, True), answer.json
    both = upload(client, headers, draw(1), image_url=URL)
    assert (both.status_code, "has both image and image_url" in both.json["message"]) == (400, True)
    assert services.jobs.count_unfinished() == 1


def test_the_detection_job_of_a_search_must_be_done(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    other = embed(services, client, headers, "a")
    detection = client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json["job_id"]
    fields = {"image_url": "", "canvas_number": 1, "xywh": "1,2,3,4"}
    unfinished = send(client, headers, job_id=detection, **fields)
    assert (unfinished.status_code, "is not done" in unfinished.json["message"]) == (400, True)
    similarity = send(client, headers, job_id=other, **fields)
    assert (similarity.status_code, "is not a detection job" in similarity.json["message"]) == (400, True)
    change_job(services.database, detection, state=State.DONE)
    assert send(client, headers, job_id=detection, **fields).status_code == 200


def test_a_client_app_searches_only_its_own_documents(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    embed(services, client, headers, "a")
    stranger = {"X-API-Key": add_app(services.database, "stranger")}
    nothing = send(client, stranger)
    assert (nothing.status_code, "You have no documents" in nothing.json["message"]) == (400, True)
    embed(services, client, stranger, "theirs")
    named = send(client, stranger, documents=["a"])
    assert (named.status_code, "'a' was not embedded" in named.json["message"]) == (400, True)
    job = services.jobs.find(send(client, stranger).json["job_id"])
    found = services.documents.list_embedded(job.app_id, route.SearchRequest.from_json(job.request))
    assert [row.doc_id for row in found] == ["theirs"]
    assert client.get(f"/jobs/{job.id}/matches", headers=headers).status_code == 404


def test_the_newest_job_of_a_document_comes_first(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    old, new = (embed(services, client, headers, "a", "b") for _ in range(2))
    embed(services, client, headers, "a", model="illustrations")
    job = services.jobs.find(send(client, headers).json["job_id"])
    found = services.documents.list_embedded(job.app_id, route.SearchRequest.from_json(job.request))
    assert [row.job_id for row in found] == [new, new, old, old]


class Worker:
    """A worker that ends the next search while the request waits."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopped = threading.Event()
        self.result = {"documents": 2, "images": 9, "matches": [MATCH, UNVERIFIED]}

    def work(self, end: Callable[[Any], None]) -> threading.Thread:
        """Start a thread that leases the next search and ends it."""
        self._services.heartbeats.record(RUN.queue)
        thread = threading.Thread(target=self._run, args=(end,), daemon=True)
        thread.start()
        return thread

    def _run(self, end: Callable[[Any], None]) -> None:
        while (job := self._services.jobs.lease_next(RUN)) is None:
            self._stopped.wait(0.01)
        end(job)

    def finish(self, job: Any) -> None:
        write_atomic(self._services.storage.job(job.id).matches, json.dumps(self.result).encode())
        self._services.jobs.finish_stage(job, RUN, 1.0, State.DONE)

    def fail(self, error: ExtractorError) -> Callable[[Any], None]:
        return lambda job: self._services.jobs.fail(job, error)


@pytest.mark.usefixtures("_embedded")
def test_the_matches_are_answered_when_they_are_found_in_time(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    worker = Worker(services)
    thread = worker.work(worker.finish)
    answer = upload(client, headers, draw(1))
    thread.join()
    assert (answer.status_code, answer.json["message"]) == (200, "2 matches were found in 9 images.")
    assert answer.json["matches"] == [MATCH, UNVERIFIED]
    later = client.get(f"/jobs/{answer.json['job_id']}/matches", headers=headers)
    assert later.json.items() <= answer.json.items()
    assert later.json.keys() == {"job_id", "model", "documents", "images", "matches"}
    services.storage.job(answer.json["job_id"]).matches.unlink()
    gone = client.get(f"/jobs/{answer.json['job_id']}/matches", headers=headers)
    assert (gone.status_code, "no longer on this server" in gone.json["message"]) == (404, True)


@pytest.mark.usefixtures("_embedded")
def test_a_single_match_is_named_in_the_singular(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    worker = Worker(services)
    worker.result = {"documents": 1, "images": 1, "matches": [MATCH]}
    thread = worker.work(worker.finish)
    answer = upload(client, headers, draw(1))
    thread.join()
    assert (answer.status_code, answer.json["message"]) == (200, "1 match was found in 1 image.")


@pytest.mark.usefixtures("_embedded")
def test_a_faulty_image_is_400_and_another_failure_names_the_job(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    worker = Worker(services)
    thread = worker.work(worker.fail(NotAnImage("image is a damaged image.")))
    answer = upload(client, headers, draw(1))
    thread.join()
    assert (answer.status_code, answer.json["message"]) == (400, "image is a damaged image.")
    thread = worker.work(worker.fail(OutOfMemory("The memory is full.")))
    answer = upload(client, headers, draw(1))
    thread.join()
    assert (answer.status_code, answer.json["message"]) == (200, "The search failed: The memory is full.")
    failed = client.get(f"/jobs/{answer.json['job_id']}/matches", headers=headers)
    assert (failed.status_code, failed.json["message"].endswith("is failed: it has no matches.")) == (404, True)


@pytest.mark.usefixtures("_embedded")
def test_the_number_of_waiting_requests_and_their_wait_are_limited(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    services.heartbeats.record(RUN.queue)
    monkeypatch.setattr(route, "WAIT_SECONDS", 0.1)
    assert send(client, headers).json["message"] == "The search is queued."
    monkeypatch.setattr(route, "WAIT_SECONDS", 3600)
    monkeypatch.setattr(route, "_waiting", threading.BoundedSemaphore(0))
    assert send(client, headers).json["message"] == "The search is queued."


def test_other_kinds_of_jobs_have_no_matches(client: FlaskClient, headers: dict[str, str]) -> None:
    detection = client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json["job_id"]
    answer = client.get(f"/jobs/{detection}/matches", headers=headers)
    assert (answer.status_code, "is a detection" in answer.json["message"]) == (404, True)


@pytest.mark.usefixtures("_embedded")
def test_a_search_comes_before_waiting_jobs(services: Services, client: FlaskClient, headers: dict[str, str]) -> None:
    while job := services.jobs.lease_next(DOWNLOAD):
        services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    search = upload(client, headers, draw(1)).json["job_id"]
    first = services.jobs.lease_next(RUN)
    assert first is not None
    assert first.id == search


@pytest.mark.usefixtures("_embedded")
def test_nothing_is_left_of_an_upload_on_a_full_disk(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    before = {*(services.storage.root / "jobs").glob("*")}
    with monkeypatch.context() as patch:
        patch.setattr("app.storage.files.os.fsync", fail)
        answer = upload(client, headers, draw(1))
    assert (answer.status_code, answer.json["code"]) == (507, "no_space")
    assert {*(services.storage.root / "jobs").glob("*")} == before
