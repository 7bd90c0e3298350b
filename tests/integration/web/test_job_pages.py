"""The list of jobs, the pages of a detection job, and the buttons that change a job."""

import io
import json
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from app.auth import add_app
from app.detection.annotations import AnnotatedPage, PageStatus
from app.exports import FORMATS
from app.pipelines.detection.pages import FetchedPage, save_annotated, save_fetched
from app.services import Services
from app.web import job_list
from app.web.detection_page import OPENSEADRAGON_STYLE
from tests.integration.web.conftest import Browser
from tests.support.archives import make_image, make_zip
from tests.support.exported_results import (
    HOSTILE_CLASS,
    HOSTILE_NAME,
    MANIFEST,
    PAGES,
    SOURCE,
    WOODCUT,
    build_canvas,
    save_result,
)
from tests.support.library import Library, Scan
from tests.support.rows import change_job

PATHS = (
    "",
    "/pages/1",
    "/pages/1.jpg",
    "/thumbnails/1.jpg",
    "/illustrations",
    "/illustrations/1-1.jpg",
    "/annotations",
)


def test_the_first_visit_explains_how_to_begin(browser: Browser) -> None:
    assert "There are no jobs yet." in browser.get("/ui/jobs").text


def test_the_list_has_title_state_and_summary(browser: Browser, detected: str) -> None:
    page = browser.get("/ui/jobs").text
    assert f'href="/ui/jobs/{detected}">ms &lt;b&gt;</a>' in page
    assert "2 pages with illustrations, 1 without, 1 failed" in page


@pytest.mark.parametrize(
    ("query", "count"), [("state=done", 1), ("state=failed", 0), ("kind=similarity", 0), ("state=x", 1)]
)
def test_the_list_is_filtered(browser: Browser, detected: str, query: str, count: int) -> None:
    assert browser.get(f"/ui/jobs?{query}").text.count(f"/ui/jobs/{detected}") == count


def test_older_jobs_are_on_further_pages(
    browser: Browser, detected: str, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "LISTED", 1)
    newer = client.post("/run_detect", headers=headers, data={"manifest_url": SOURCE}).json["job_id"]
    first, second = browser.get("/ui/jobs").text, browser.get("/ui/jobs?offset=1").text
    assert (newer in first, detected in first) == (True, False)
    assert (newer in second, detected in second) == (False, True)
    assert 'href="/ui/jobs?offset=1"' in first
    assert detected in browser.get("/ui/jobs/events?offset=1").text


@pytest.mark.parametrize(("path", "least"), [("", "0.25"), ("/pages/1", "0.5"), ("/illustrations", "0.25")])
def test_the_slider_begins_below_the_lowest_confidence(
    app: Flask, browser: Browser, detected: str, path: str, least: str
) -> None:
    services = app.extensions["services"]
    services.settings = services.settings.model_copy(update={"confidence": 0.6})
    assert f'min="{least}"' in browser.get(f"/ui/jobs/{detected}{path}").text


def test_pasting_a_manifest_starts_a_job(browser: Browser, services: Services) -> None:
    answer = browser.post("/ui/jobs", manifest_url=SOURCE)
    (job,) = services.jobs.list_recent(1)
    assert answer.location == f"/ui/jobs/{job.id}"
    assert job.request["manifest_url"] == SOURCE


def test_a_wrong_address_is_explained_next_to_the_form(browser: Browser) -> None:
    answer = browser.post("/ui/jobs", manifest_url="ftp://x")
    page = browser.get(answer.location).text
    assert "manifest_url" in page
    assert 'value="ftp://x"' in page


def test_the_strip_shows_the_outcome_of_every_page(browser: Browser, detected: str) -> None:
    page = browser.get(f"/ui/jobs/{detected}").text
    strip = page[page.index('class="strip"') : page.index("</ol>")]
    found = [strip.index(f'<li class="{status}">') for status in ("detected", "empty", "failed")]
    assert found == sorted(found)
    assert "It answered\n404." in page


@pytest.mark.parametrize(("status", "shown"), [("detected", [1, 4]), ("empty", [2]), ("failed", [3])])
def test_pages_are_filtered_by_their_outcome(browser: Browser, detected: str, status: str, shown: list[int]) -> None:
    page = browser.get(f"/ui/jobs/{detected}?status={status}").text
    grid = page[page.index('<ol class="pages">') :]
    assert [number for number in (1, 2, 3, 4) if f'<span class="number">{number}</span>' in grid] == shown


def test_boxes_are_drawn_in_pixels_of_the_full_size_image(browser: Browser, detected: str) -> None:
    page = browser.get(f"/ui/jobs/{detected}/pages/1").text
    assert '<svg class="boxes" viewBox="0 0 1000 800"' in page
    assert '<rect x="100" y="200" width="300" height="400" data-confidence="0.9312"/>' in page


def test_hostile_names_are_shown_as_text(browser: Browser, detected: str, services: Services) -> None:
    change_job(services.database, detected, manifest_ref="<script>alert(1)</script>")
    for path in ("", "/pages/4", "/illustrations"):
        page = browser.get(f"/ui/jobs/{detected}{path}").text
        assert "<script>alert" not in page
        assert HOSTILE_CLASS not in page
        assert HOSTILE_NAME not in page


def test_a_running_job_shows_the_pages_that_are_done(browser: Browser, waiting: str, services: Services) -> None:
    folder = services.storage.job(waiting)
    change_job(services.database, waiting, total=4, coverage={"detected": 1, "empty": 0, "failed": []})
    save_annotated(folder.detections, [AnnotatedPage(2, "", "b.jpg", 500, 400, PageStatus.DETECTED, (WOODCUT,))])
    save_fetched(folder, [FetchedPage(3, "", "c.jpg", reason="It is gone.")])
    page = browser.get(f"/ui/jobs/{waiting}").text
    strip = page[page.index('class="strip"') : page.index("</ol>")]
    assert [part.partition('"')[0] for part in strip.split('<li class="')[1:]] == [
        "waiting",
        "detected",
        "failed",
        "waiting",
    ]
    assert "This page has not been processed yet." in browser.get(f"/ui/jobs/{waiting}/pages/1").text


def test_progress_is_an_event_that_names_the_job(browser: Browser, waiting: str) -> None:
    for path in (f"/ui/jobs/{waiting}/events", "/ui/jobs/events"):
        answer = browser.get(path)
        assert answer.mimetype == "text/event-stream"
        retry, event, _ = answer.text.split("\n\n")
        assert retry.startswith("retry: ")
        data = json.loads(event.removeprefix("event: job\ndata: "))
        assert (data["job_id"], data["state"], data["finished"]) == (waiting, "queued", False)


def test_thumbnails_and_crops_are_cut_from_the_cached_image(
    browser: Browser, detected: str, services: Services
) -> None:
    for path, size in (
        (f"/ui/jobs/{detected}/thumbnails/1.jpg", (400, 320)),
        (f"/ui/jobs/{detected}/pages/1.jpg", (500, 400)),
    ):
        answer = browser.get(path)
        assert answer.cache_control.private
        with Image.open(io.BytesIO(answer.data)) as image:
            assert image.size == size
    with Image.open(io.BytesIO(browser.get(f"/ui/jobs/{detected}/illustrations/1-1.jpg").data)) as image:
        assert image.size == (151, 201)  # half of the box, and one pixel for its edges
    assert services.storage.job(detected).thumbnail(1).exists()


@pytest.mark.parametrize("path", ["pages/0", "pages/5", "pages/x", "thumbnails/3.jpg", "illustrations/1-9.jpg", "x"])
def test_what_does_not_exist_is_a_page_with_a_sentence(browser: Browser, detected: str, path: str) -> None:
    answer = browser.get(f"/ui/jobs/{detected}/{path}")
    assert answer.status_code == 404
    assert "This did not work" in answer.text


def test_jobs_of_other_client_apps_do_not_exist(app: Flask, services: Services, detected: str) -> None:
    other = Browser(app.test_client())
    other.sign_in(add_app(services.database, "other"))
    for path in PATHS:
        assert other.get(f"/ui/jobs/{detected}{path}").status_code == 404, path
    assert detected not in other.get("/ui/jobs").text
    assert detected not in other.get("/ui/jobs/events").text


def test_every_format_can_be_downloaded(browser: Browser, detected: str) -> None:
    for name in FORMATS:
        answer = browser.get(f"/ui/jobs/{detected}/annotations?format={name}")
        assert (answer.status_code, answer.headers["Content-Disposition"].split(";")[0]) == (200, "attachment"), name


@pytest.mark.parametrize("ref", ["日本é😀", "a\x00\x1fb", 'a";b', "x" * 5000])
def test_the_name_of_a_download_may_have_any_characters(
    browser: Browser, services: Services, client: FlaskClient, headers: dict[str, str], detected: str, ref: str
) -> None:
    change_job(services.database, detected, manifest_ref=ref)
    for name in ("text", "json", "csv"):
        answer = browser.get(f"/ui/jobs/{detected}/annotations?format={name}")
        content = answer.headers["Content-Disposition"].encode("ascii")
        assert (answer.status_code, len(content) < 1000, b"\x00" in content) == (200, True, False)
    assert client.get(f"/jobs/{detected}/annotations?format=csv", headers=headers).status_code == 200


def test_a_job_is_cancelled_and_retried_by_buttons(browser: Browser, waiting: str) -> None:
    page = f"/ui/jobs/{waiting}"
    answer = browser.post(f"{page}/cancel", page, back=page)
    assert answer.location == page
    shown = browser.get(page).text
    assert "The job is cancelled." in shown
    assert "cancelled</span>" in shown
    browser.post(f"{page}/retry", page, back=page)
    assert "queued</span>" in browser.get(page).text


def test_a_refused_button_says_why(browser: Browser, detected: str) -> None:
    page = f"/ui/jobs/{detected}"
    browser.post(f"{page}/cancel", page, back=page)
    assert "there is nothing to cancel" in browser.get(page).text


def test_a_link_for_viewers_opens_without_a_session(browser: Browser, client: FlaskClient, detected: str) -> None:
    page = browser.post(f"/ui/jobs/{detected}/links", f"/ui/jobs/{detected}").text
    link = page.partition('readonly value="')[2].partition('"')[0].replace("&amp;", "&")
    assert client.get(link).json["type"] == "Manifest"


def test_only_the_page_with_the_zoom_names_the_library(browser: Browser, detected: str) -> None:
    assert "https://library.example" in browser.get(f"/ui/jobs/{detected}/pages/1").headers["Content-Security-Policy"]
    assert "library.example" not in browser.get(f"/ui/jobs/{detected}").headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("例え.example", " https://xn--r8jz45g.example"),
        ("a.example:8080", " https://a.example:8080"),
        ("a.example;script-src-elem *", ""),
        ("a.example,x", ""),
        ("me:pw@a.example", ""),
        ("[::1", ""),
    ],
)
def test_the_host_of_a_service_adds_nothing_else_to_the_policy(
    browser: Browser, services: Services, detected: str, host: str, allowed: str
) -> None:
    canvas = build_canvas(1, 500, 400)
    canvas["items"][0]["items"][0]["body"]["service"][0]["id"] = f"https://{host}/iiif/1"
    save_result(services.storage.job(detected), PAGES, MANIFEST | {"items": [canvas]})
    answer = browser.get(f"/ui/jobs/{detected}/pages/1")
    policy = "default-src 'none'; script-src 'self'; style-src 'self' {style}; img-src 'self'{allowed}; connect-src"
    assert answer.headers["Content-Security-Policy"].startswith(
        policy.format(style=OPENSEADRAGON_STYLE, allowed=allowed)
    )


def test_a_file_starts_a_job(browser: Browser, services: Services) -> None:
    token = re.search('csrf=([^&"]+)', browser.get("/ui/jobs").text)
    assert token
    form = {"file": (make_zip({"a.jpg": make_image()}), "book.zip")}
    answer = browser.client.post(f"/ui/jobs?csrf={token[1]}&back=/ui/jobs", data=form)
    (job,) = services.jobs.list_recent(1)
    assert answer.location == f"/ui/jobs/{job.id}"
    assert job.request["file_name"] == "book.zip"
    assert "book" in browser.get(answer.location).text


def test_a_file_that_is_too_large_is_a_page_with_a_sentence(app: Flask, browser: Browser) -> None:
    token = re.search('csrf=([^&"]+)', browser.get("/ui/jobs").text)
    app.config["MAX_CONTENT_LENGTH"] = 100
    answer = browser.client.post("/ui/sign-out", data={"csrf": token[1] if token else "", "filler": "x" * 200})
    assert answer.status_code == 413
    assert "This did not work" in answer.text


def test_an_estimate_keeps_the_fields_of_the_form(browser: Browser, library: Library) -> None:
    url = library.offer_manifest([Scan()])
    fields = {"manifest_url": url, "model": "illustrations.pt", "tiles": "auto", "estimate": "true"}
    page = browser.get(browser.post("/ui/jobs", **fields).location).text
    assert f'value="{url}"' in page
    assert "<option selected>illustrations.pt</option>" in page
    assert 'value="auto" checked' in page


def test_an_error_keeps_the_fields_of_the_form(browser: Browser) -> None:
    answer = browser.post("/ui/jobs", manifest_url="ftp://x", model="illustrations.pt", tiles="auto")
    page = browser.get(answer.location).text
    assert 'class="message error"' in page
    assert "<option selected>illustrations.pt</option>" in page
    assert 'value="auto" checked' in page


def test_a_long_address_is_not_sent_back_in_a_redirect(browser: Browser) -> None:
    assert browser.post("/ui/jobs", manifest_url="é" * 100_000).location == "/ui/jobs"
