"""The pages of collections and of tasks of a front, whose work is done by other jobs."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.jobs import State
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD
from app.services import Services
from tests.integration.web.conftest import NEEDS_CHROMIUM, Browser
from tests.support.exported_results import SOURCE
from tests.support.rows import change_job


@pytest.fixture
def collection(browser: Browser, services: Services) -> str:
    """A collection of four books: done, failed, running and queued."""
    request = DetectionRequest("https://library.example/collection.json")
    (job,) = services.jobs.submit(1, [request])
    leased = services.jobs.lease_next(DOWNLOAD)
    assert leased
    services.jobs.expand(leased, *request.for_manifests([f"https://library.example/{n}.json" for n in range(4)]))
    services.jobs.finish_stage(leased, DOWNLOAD, 1, State.DONE)
    done, failed, running, _ = services.jobs.list_parts(job)
    change_job(services.database, done.id, state="done", finished=1.0, manifest_ref="Herbal")
    change_job(services.database, failed.id, state="failed", finished=1.0, error_code="x", error_message="It is gone.")
    change_job(services.database, running.id, state="running", done=3, total=8)
    return job.id


def read_events(browser: Browser, job_id: str) -> dict[str, Any]:
    """Return the events of the page of a job, by job ID."""
    lines = browser.get(f"/ui/jobs/{job_id}/events").text.split("\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return {event["job_id"]: event for event in events}


def test_a_collection_runs_until_all_its_books_are_done(browser: Browser, collection: str) -> None:
    page = browser.get(f"/ui/jobs/{collection}").text
    head, parts = page.split("Jobs of this collection or task")
    assert '<span class="state running" data-live="state">running</span>' in head
    assert "1 of 4 done, 1 failed" in head
    for name in (">Herbal</a>", "It is gone.", "3 / 8", ">https://library.example/3.json</a>"):
        assert name in parts
    assert parts.count('<li data-job="') == 4


def test_events_name_a_collection_and_its_books(browser: Browser, services: Services, collection: str) -> None:
    events = read_events(browser, collection)
    whole = events[collection]
    assert (whole["state"], whole["finished"], whole["done"], whole["total"]) == ("running", False, 2, 4)
    assert len(events) == 5
    for part in services.jobs.list_parts(services.jobs.find(collection)):
        change_job(services.database, part.id, state="done", finished=1.0, updated=1.0)
    events = read_events(browser, collection)
    assert [*events] == [collection], "a book that has not changed for a minute has no event"
    assert (events[collection]["state"], events[collection]["finished"]) == ("done", True)


def test_a_collection_is_cancelled_and_retried_by_buttons(
    browser: Browser, services: Services, collection: str
) -> None:
    page = f"/ui/jobs/{collection}"
    browser.post(f"{page}/cancel", page, back=page)
    shown = browser.get(page).text
    assert "2 jobs are cancelled." in shown
    assert f'action="{page}/cancel"' not in shown
    browser.post(f"{page}/retry", page, back=page)
    shown = browser.get(page).text
    assert "3 parts of the job are tried again." in shown
    assert f'action="{page}/retry"' not in shown


def test_a_running_collection_has_buttons_to_cancel_and_to_retry(browser: Browser, collection: str) -> None:
    page = browser.get(f"/ui/jobs/{collection}").text
    assert f'action="/ui/jobs/{collection}/cancel"' in page
    assert f'action="/ui/jobs/{collection}/retry"' in page


@NEEDS_CHROMIUM
def test_the_books_of_a_collection_change_without_a_reload(page: Any, services: Services, collection: str) -> None:
    page.goto(f"/ui/jobs/{collection}")
    *_, queued = services.jobs.list_parts(services.jobs.find(collection))
    change_job(services.database, queued.id, state="failed", finished=1.0, error_message="It burnt.")
    page.wait_for_selector(f"[data-job='{queued.id}'] .state.failed")
    assert "1 of 4 done, 2 failed" in page.locator("header.job").inner_text()
    for part in services.jobs.list_parts(services.jobs.find(collection)):
        change_job(services.database, part.id, state="done", finished=1.0)
    page.wait_for_selector("header.job button", state="detached")
    assert "4 of 4 done" in page.locator("header.job").inner_text()


@NEEDS_CHROMIUM
def test_an_open_page_shows_the_books_when_the_collection_is_known(page: Any, services: Services) -> None:
    request = DetectionRequest("https://library.example/collection.json")
    (job,) = services.jobs.submit(1, [request])
    leased = services.jobs.lease_next(DOWNLOAD)
    assert leased
    page.goto(f"/ui/jobs/{job.id}")
    services.jobs.expand(leased, *request.for_manifests(["https://library.example/1.json"]))
    services.jobs.finish_stage(leased, DOWNLOAD, 1, State.DONE)
    page.wait_for_selector("text=https://library.example/1.json")


def test_events_since_the_last_answer_name_the_changed_books(
    browser: Browser, services: Services, collection: str
) -> None:
    parts = services.jobs.list_parts(services.jobs.find(collection))
    for number, part in enumerate(parts):
        change_job(services.database, part.id, updated=1000.0 * number)
    answer = browser.get(f"/ui/jobs/{collection}/events", headers={"Last-Event-ID": "2000"}).text
    assert [part.id in answer for part in parts] == [False, False, True, True]
    assert "\nid: " in answer


@pytest.mark.parametrize(("task", "kind"), [("regions", "iiif"), ("similarity", "url_list")])
def test_a_task_of_a_front_is_shown_with_its_jobs(
    browser: Browser, client: FlaskClient, headers: dict[str, str], task: str, kind: str
) -> None:
    documents = [{"type": kind, "src": SOURCE, "uid": uid} for uid in ("wit1", "wit2")]
    started = client.post(f"/{task}/start", headers=headers, json={"documents": documents})
    job_id = started.json["tracking_id"].replace("-", "")
    assert f'href="/ui/jobs/{job_id}">wit1 · wit2</a>' in browser.get("/ui/jobs?kind=aikon").text
    page = browser.get(f"/ui/jobs/{job_id}").text
    parts = page[page.index("Jobs of this collection or task") :]
    assert parts.count('href="/ui/jobs/') == (2 if task == "regions" else 1)
