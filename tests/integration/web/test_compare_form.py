"""The form that compares documents: the ticks of its detections stay until a comparison starts."""

import re

import pytest
from flask.testing import FlaskClient

from app.services import Services
from app.web import compare_page
from tests.integration.web.conftest import Browser
from tests.support.exported_results import SOURCE
from tests.support.rows import change_job


@pytest.fixture
def newer(client: FlaskClient, headers: dict[str, str], services: Services, detected: str) -> str:
    """A second finished detection."""
    job_id: str = client.post("/run_detect", headers=headers, data={"manifest_url": SOURCE}).json["job_id"]
    change_job(services.database, job_id, state="done", finished=1.0, manifest_ref="newer")
    return job_id


def find_listed(page: str) -> dict[str, bool]:
    """Return the detections in the form, and whether each is ticked."""
    return {job_id: bool(tick) for job_id, tick in re.findall(r'name="job" value="(\w+)" (checked)?', page)}


def test_documents_are_compared_by_a_form(browser: Browser, detected: str, services: Services) -> None:
    assert f'name="job" value="{detected}"' in browser.get("/ui/compare").text
    answer = browser.post("/ui/compare", "/ui/compare", job=[detected, detected], transpositions="hflip")
    job = services.jobs.list_recent(1)[0]
    assert answer.location == f"/ui/jobs/{job.id}"
    assert job.request["documents"] == {"ms_b": {"job_id": detected}, "ms_b_2": {"job_id": detected}}
    assert job.request["transpositions"] == ["none", "hflip"]


def test_a_comparison_without_documents_is_explained(browser: Browser, detected: str) -> None:
    answer = browser.post("/ui/compare", "/ui/compare", model="illustrations", transpositions="hflip")
    assert (answer.status_code, "Choose at least one document." in answer.text) == (400, True)
    assert "<option selected>illustrations</option>" in answer.text
    assert 'value="hflip" checked' in answer.text


def test_more_documents_than_the_form_lists_are_refused(browser: Browser, detected: str, services: Services) -> None:
    answer = browser.post("/ui/compare", "/ui/compare", job=[detected] * 101)
    assert "Choose at most 100 documents." in answer.text
    assert f'value="{detected}" checked' in answer.text
    assert [job.id for job in services.jobs.list_recent(1)] == [detected]


def test_older_detections_are_listed_and_ticks_are_kept(
    browser: Browser, detected: str, newer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_page, "LISTED", 1)
    page = browser.get("/ui/compare").text
    assert "1 to 1 of 2" in page
    assert find_listed(page) == {newer: False}
    page = browser.post("/ui/compare", "/ui/compare", job=newer, offset="1").text
    assert find_listed(page) == {newer: True, detected: False}
    page = browser.post("/ui/compare", "/ui/compare", job=detected, offset="0").text
    assert find_listed(page) == {detected: True, newer: False}
