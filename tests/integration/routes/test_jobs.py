import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from app.auth import add_app
from app.database.tables import Delivery
from app.delivery.kinds import Kind
from app.delivery.outbox import Outcome, enqueue
from app.delivery.payloads import Destination
from app.jobs import State
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD, STAGES
from tests.support.rows import change_job

MANIFEST = "https://example.org/iiif/manifest.json"


@pytest.fixture
def job_id(client: FlaskClient, headers: dict[str, str]) -> str:
    return client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json["job_id"]


@pytest.fixture
def finished(app: Flask, job_id: str) -> str:
    """A job in state done, with its result files."""
    jobs, folder = app.extensions["services"].jobs, app.extensions["services"].storage.job(job_id)
    for stage in STAGES:
        jobs.finish_stage(jobs.lease_next(stage), stage, 1.0)
    folder.path.mkdir(parents=True)
    folder.annotations.write_text("1 é.jpg\n1 2 3 4\n")
    folder.annotations_json.write_text('[{"number": 1}]')
    return job_id


def test_a_job_has_the_documented_fields(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    job: dict[str, Any] = client.get(f"/jobs/{job_id}", headers=headers).json
    assert job.keys() == {
        "job_id",
        "kind",
        "state",
        "progress",
        "created",
        "updated",
        "finished",
        "file",
        "manifest_url",
        "manifest_ref",
        "model",
        "coverage",
        "deliveries",
        "timings",
        "error",
    }
    assert job["progress"] == {"stage": "queued", "done": 0, "total": 0}
    assert job["coverage"] == {"detected": 0, "empty": 0, "failed": []}
    assert job["created"].endswith("Z")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/annotations"), ("POST", "/cancel"), ("POST", "/redeliver"), ("POST", "/retry")],
)
def test_a_job_of_another_client_app_is_404(
    app: Flask, client: FlaskClient, job_id: str, method: str, path: str
) -> None:
    stranger = {"X-API-Key": add_app(app.extensions["services"].database, "stranger")}
    answer = client.open(f"/jobs/{job_id}{path}", method=method, headers=stranger)
    absent = client.open(f"/jobs/{'0' * 32}{path}", method=method, headers=stranger)
    assert (answer.status_code, absent.status_code) == (404, 404)
    assert client.get("/jobs", headers=stranger).json == {"jobs": []}


def test_jobs_are_filtered_by_state(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    def count(state: str) -> int:
        return len(client.get(f"/jobs?state={state}", headers=headers).json["jobs"])

    assert (count("queued"), count("done")) == (1, 0)


@pytest.mark.parametrize(
    "query", ["state=odd", "limit=0", "limit=-1", "limit=many", "limit=1001", "limit=²", "limit=" + "9" * 30]
)
def test_an_invalid_filter_is_400(client: FlaskClient, headers: dict[str, str], query: str) -> None:
    answer = client.get(f"/jobs?{query}", headers=headers)
    assert answer.status_code == 400
    assert answer.json["message"].startswith(query.partition("=")[0])


def test_a_queued_job_is_cancelled(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    assert client.post(f"/jobs/{job_id}/cancel", headers=headers).status_code == 200
    assert client.get(f"/jobs/{job_id}", headers=headers).json["state"] == "cancelled"
    again = client.post(f"/jobs/{job_id}/cancel", headers=headers)
    assert (again.status_code, "cancelled already" in again.json["message"]) == (400, True)


def test_a_finished_job_has_annotations(client: FlaskClient, headers: dict[str, str], finished: str) -> None:
    text = client.get(f"/jobs/{finished}/annotations", headers=headers)
    assert (text.text, text.mimetype) == ("1 é.jpg\n1 2 3 4\n", "text/plain")
    answer = client.get(f"/jobs/{finished}/annotations?format=json", headers=headers).json
    assert answer == {"job_id": finished, "manifest_url": MANIFEST, "model": None, "canvases": [{"number": 1}]}


def test_annotations_of_an_unfinished_job_are_400(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    answer = client.get(f"/jobs/{job_id}/annotations", headers=headers)
    assert (answer.status_code, "queued" in answer.json["message"]) == (400, True)


def test_an_unknown_format_of_annotations_is_400(client: FlaskClient, headers: dict[str, str], finished: str) -> None:
    assert client.get(f"/jobs/{finished}/annotations?format=xml", headers=headers).status_code == 400


def test_a_result_without_a_destination_cannot_be_redelivered(
    client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    answer = client.post(f"/jobs/{finished}/redeliver", headers=headers)
    assert (answer.status_code, "callback" in answer.json["message"]) == (400, True)


def test_a_job_without_deliveries_cannot_be_redelivered(
    client: FlaskClient, headers: dict[str, str], job_id: str
) -> None:
    client.post(f"/jobs/{job_id}/cancel", headers=headers)
    answer = client.post(f"/jobs/{job_id}/redeliver", headers=headers)
    assert (answer.status_code, "no result" in answer.json["message"]) == (400, True)


def add_delivery(app: Flask, job_id: str) -> None:
    """Add a result whose last delivery attempt has failed."""
    job = app.extensions["services"].jobs.find(job_id)
    with app.extensions["services"].database.session() as session:
        enqueue(session, job, Kind.RESULT, Destination("https://a.example/in/x", "https://a.example/in"))
    outbox = app.extensions["services"].outbox
    delivery = outbox.lease_next(60)
    outbox.record(delivery, Outcome(500, "It answered 500.", None, 0.25))
    with app.extensions["services"].database.session() as session:
        session.execute(update(Delivery).values(status="failed", next_attempt=None))


def test_a_delivery_lists_every_attempt(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    add_delivery(app, finished)
    (delivery,) = client.get(f"/jobs/{finished}", headers=headers).json["deliveries"]
    (attempt,) = delivery.pop("history")
    assert attempt.pop("at").endswith("Z")
    assert attempt == {"http_status": 500, "error": "It answered 500.", "seconds": 0.25}
    assert len(delivery.pop("id")) == 32
    assert delivery == {
        "kind": "result",
        "url": "https://a.example/in/x",
        "attempts": 1,
        "status": "failed",
        "http_status": 500,
        "error": "It answered 500.",
        "next_attempt": None,
    }
    (listed,) = client.get("/jobs", headers=headers).json["jobs"]
    assert len(listed["deliveries"][0]["history"]) == 1


def test_a_result_is_redelivered(app: Flask, client: FlaskClient, headers: dict[str, str], finished: str) -> None:
    add_delivery(app, finished)
    outbox = app.extensions["services"].outbox
    assert outbox.count_due(1) == 0
    assert client.post(f"/jobs/{finished}/redeliver", headers=headers).status_code == 200
    assert outbox.lease_next(60).job_id == finished


def test_an_unfinished_job_cannot_be_redelivered(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    assert client.post(f"/jobs/{job_id}/redeliver", headers=headers).status_code == 400


def fail_canvases(app: Flask, job_id: str, count: int) -> None:
    coverage = {"detected": 1, "empty": 0, "failed": [{"canvas_number": 2, "reason": "It is gone."}] * count}
    change_job(app.extensions["services"].database, job_id, coverage=coverage)


@pytest.mark.parametrize(("count", "said"), [(1, "The canvas that failed is"), (3, "The 3 canvases that failed are")])
def test_failed_canvases_are_retried(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str, count: int, said: str
) -> None:
    fail_canvases(app, finished, count)
    answer = client.post(f"/jobs/{finished}/retry", headers=headers)
    assert (answer.status_code, answer.json["message"]) == (200, f"{said} tried again.")
    assert client.get(f"/jobs/{finished}", headers=headers).json["state"] == "queued"
    # The existing result remains available.
    assert client.get(f"/jobs/{finished}/annotations", headers=headers).status_code == 200
    again = client.post(f"/jobs/{finished}/retry", headers=headers)
    assert (again.status_code, "queued" in again.json["message"]) == (400, True)


def test_a_job_without_failed_canvases_cannot_be_retried(
    client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    answer = client.post(f"/jobs/{finished}/retry", headers=headers)
    assert (answer.status_code, "nothing to try again" in answer.json["message"]) == (400, True)


def test_a_cancelled_job_is_retried(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    client.post(f"/jobs/{job_id}/cancel", headers=headers)
    answer = client.post(f"/jobs/{job_id}/retry", headers=headers)
    assert (answer.status_code, answer.json["message"]) == (200, "The job is tried again.")
    assert client.get(f"/jobs/{job_id}", headers=headers).json["state"] == "queued"


def test_a_collection_lists_cancels_and_retries_its_jobs(
    app: Flask, client: FlaskClient, headers: dict[str, str], job_id: str
) -> None:
    services = app.extensions["services"]
    job = services.jobs.lease_next(DOWNLOAD)
    request = DetectionRequest(MANIFEST)
    services.jobs.expand(job, *request.for_manifests(f"https://example.org/{number}" for number in (1, 2)))
    services.jobs.finish_stage(job, DOWNLOAD, 1.0, State.DONE)
    shown = client.get(f"/jobs/{job_id}", headers=headers).json
    assert (shown["kind"], shown["state"], shown["progress"]["total"]) == ("collection", "done", 2)
    parts = [(part["manifest_url"], part["state"]) for part in shown["jobs"]]
    assert parts == [("https://example.org/1", "queued"), ("https://example.org/2", "queued")]
    cancelled = client.post(f"/jobs/{job_id}/cancel", headers=headers)
    assert (cancelled.status_code, cancelled.json["message"]) == (200, "2 jobs are cancelled.")
    shown = client.get(f"/jobs/{job_id}", headers=headers).json
    assert {part["state"] for part in shown["jobs"]} == {"cancelled"}
    again = client.post(f"/jobs/{job_id}/retry", headers=headers)
    assert (again.status_code, again.json["message"]) == (200, "2 parts of the job are tried again.")
    services.jobs.cancel(services.jobs.list_parts(job)[0])
    cancelled = client.post(f"/jobs/{job_id}/cancel", headers=headers)
    assert (cancelled.status_code, cancelled.json["message"]) == (200, "1 job is cancelled.")
    client.post(f"/jobs/{job_id}/retry", headers=headers)
    refused = client.post(f"/jobs/{job_id}/retry", headers=headers)
    assert (refused.status_code, refused.json["message"][-30:]) == (400, "there is nothing to try again.")


def test_progress_is_a_server_sent_event(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    answer = client.get(f"/jobs/{job_id}/events", headers=headers)
    assert answer.mimetype == "text/event-stream"
    retry, event, rest = answer.text.split("\n\n")
    assert (retry.split("\nid: ")[0], rest) == ("retry: 2000", "")
    assert json.loads(event.removeprefix("event: job\ndata: ")) == client.get(f"/jobs/{job_id}", headers=headers).json
