"""``POST /run_detect`` with ``estimate=true`` fetches the manifest and creates no job."""

from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.routes import estimates
from tests.support.library import Answer, Library, Scan


def estimate(client: FlaskClient, headers: dict[str, str], url: str, **fields: str) -> Any:
    return client.post("/run_detect", headers=headers, data={"manifest_url": url, "estimate": "true", **fields})


def test_an_estimate_states_the_cost_and_creates_no_job(
    client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    answer = estimate(client, headers, library.offer_manifest([Scan()] * 3))
    assert answer.status_code == 200
    found = answer.json
    assert (found["manifests"], found["canvases"], found["images"]) == (1, 3, 3)
    assert (found["detection_seconds"], found["unfinished_jobs"]) == (None, 0)
    assert found["message"].startswith("The job would fetch 3 images and take about ")
    assert client.get("/jobs", headers=headers).json == {"jobs": []}
    assert library.paths == ["/manifest.json"]


def test_the_detection_takes_as_long_as_in_the_latest_jobs(
    app: Flask, client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    url = library.offer_manifest([Scan()] * 4)
    client.post("/run_detect", headers=headers, data={"manifest_url": url})
    finish_job(app, pages=10, seconds=5.0)
    assert estimate(client, headers, url).json["detection_seconds"] == 2.0


def finish_job(app: Flask, pages: int, seconds: float) -> None:
    """Finish the only job as if a worker had detected some pages."""
    from app.jobs.states import DELIVER, DOWNLOAD, RUN

    jobs = app.extensions["services"].jobs
    for stage in (DOWNLOAD, RUN, DELIVER):
        job = jobs.lease_next(stage)
        jobs.record_progress(job, pages, pages, None)
        jobs.finish_stage(job, stage, seconds)


def test_a_collection_states_the_number_of_its_manifests(
    client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    members = [{"id": f"https://a.example/{number}", "type": "Manifest"} for number in range(7)]
    url = library.answer("/all.json", Answer(body={"type": "Collection", "items": members}))
    found = estimate(client, headers, url).json
    assert (found["manifests"], found["canvases"], found["requests"]) == (7, None, None)


@pytest.mark.parametrize("answer", [Answer(404), Answer(503), Answer(body="<html>")])
def test_a_manifest_that_cannot_be_read_is_an_error(
    client: FlaskClient, headers: dict[str, str], library: Library, answer: Answer
) -> None:
    found = estimate(client, headers, library.answer("/manifest.json", answer))
    assert found.status_code == 400
    assert found.json["message"].startswith("manifest_url cannot be estimated: http://")


def test_the_number_of_simultaneous_estimates_is_limited(
    client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    url = library.answer("/manifest.json", Answer(404))
    with ExitStack() as held:
        for _ in range(estimates.MOST_ESTIMATES):
            assert estimate(client, headers, url).status_code == 400
            held.enter_context(estimates._fetching)
        answer = estimate(client, headers, url)
    assert (answer.status_code, answer.json["code"]) == (503, "busy")
    assert answer.json["message"] == "2 estimates are in progress already: try again in a minute."
    assert estimate(client, headers, url).status_code == 400


def test_an_estimate_does_not_wait_for_a_paused_host(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    app.extensions["services"].impatient_fetcher._limits.pause("busy.example", 3600)
    answer = estimate(client, headers, "http://busy.example/manifest.json")
    assert answer.status_code == 400
    assert answer.json["message"].startswith("manifest_url cannot be estimated: busy.example is busy: ")


def test_another_value_of_estimate_is_an_error(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = estimate(client, headers, "https://a.example/", estimate="perhaps")
    assert (answer.status_code, answer.json["message"]) == (
        400,
        "estimate must be one of true, false, not 'perhaps'.",
    )
