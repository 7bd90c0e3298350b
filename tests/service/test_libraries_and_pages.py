"""Run detections in real processes against libraries that are slow, busy, or fail on a page.

The last test goes from the address of a manifest to a data set of corrected pages, in a real browser. It is here
because starting a service takes longer than the test.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from app.jobs.scheduling import HOST_JOBS
from tests.integration.web.conftest import CHROMIUM, NEEDS_CHROMIUM
from tests.support.library import Answer, Library, Scan
from tests.support.service import Document, Service, open_service

QUICK = 20
CORRECTED = 5
SMALL = Scan(300, 400)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, small_models: Path) -> Iterator[Service]:
    settings: dict[str, Any] = {"models_folder": small_models, "fetch_timeout_seconds": 300}
    with open_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


def test_a_slow_library_does_not_delay_twenty_others(service: Service) -> None:
    with ExitStack() as stack:
        slow = stack.enter_context(Library().open())
        slow.answer("/iiif/1/info.json", Answer(hang=True))
        many = [slow.offer_manifest([SMALL], path=f"/{number}/manifest.json") for number in range(40)]
        quick = [stack.enter_context(Library().open()).offer_manifest([SMALL]) for _ in range(QUICK)]
        listed = "\n".join([*many, *quick])
        jobs = service.post("/detect_all", files={"url_file": ("list.txt", listed)})["jobs"]
        assert [service.wait_until_finished(job["job_id"])["state"] for job in jobs[len(many) :]] == ["done"] * QUICK
        states = Counter(service.get_job(job["job_id"])["state"] for job in jobs[: len(many)])
        assert states == {"downloading": HOST_JOBS, "queued": len(many) - HOST_JOBS}
        for job in jobs[: len(many)]:
            service.post(f"/jobs/{job['job_id']}/cancel")


def test_all_jobs_of_a_busy_library_are_done_in_the_end(service: Service, library: Library) -> None:
    urls = [library.offer_manifest([SMALL, SMALL], path=f"/{number}/manifest.json") for number in range(12)]
    jobs = service.post("/detect_all", files={"url_file": ("list.txt", "\n".join(urls))})["jobs"]
    assert [service.wait_until_finished(job["job_id"])["state"] for job in jobs] == ["done"] * len(urls)
    assert len(service.wait_for_messages(len(urls))) == len(urls)


def test_a_retry_fetches_only_the_failed_canvas(service: Service, library: Library) -> None:
    url = library.offer_manifest([SMALL] * 3)
    library.offer(Scan(300, 400, info=False, forms=()), "2")
    job = service.wait_until_finished(service.detect(url))
    (failed,) = job["coverage"]["failed"]
    assert (job["state"], failed["canvas_number"]) == ("done", 2)
    assert "answered 400" in failed["reason"]
    service.wait_for_messages()  # otherwise the second result would supersede the first one
    library.offer(SMALL, "2")
    library.asked.clear()
    service.post(f"/jobs/{job['job_id']}/retry")
    job = service.wait_until_finished(job["job_id"])
    assert (job["state"], job["coverage"]["failed"]) == ("done", [])
    assert {path.split("/")[2] for path in library.paths} == {"2"}
    first, second = (sent.files["annotation_file"][1].decode() for sent in service.wait_for_messages(2))
    assert [line for text in (first, second) for line in text.splitlines() if line.startswith("2 ")] == [
        "2 ms-3_0002.jpg"
    ]
    assert [delivery["status"] for delivery in service.wait_for_deliveries(job["job_id"])] == ["delivered"] * 2


def test_a_collection_becomes_one_job_per_manifest(service: Service, library: Library) -> None:
    urls = [library.offer_manifest([SMALL], path=f"/{number}/manifest.json") for number in range(3)]
    items = [{"id": url, "type": "Manifest"} for url in urls[1:]] + [{"id": f"{library.url}/gone", "type": "Manifest"}]
    inner = library.answer("/inner.json", Answer(body={"type": "Collection", "id": "inner", "items": items}))
    items = [{"id": urls[0], "type": "Manifest"}, {"id": inner, "type": "Collection"}]
    outer = library.answer("/outer.json", Answer(body={"type": "Collection", "id": "outer", "items": items}))
    job = service.wait_until_finished(service.detect(outer))
    assert (job["state"], job["kind"], job["progress"]["total"]) == ("done", "collection", 4)
    assert [part["manifest_url"] for part in job["jobs"]] == [*urls, f"{library.url}/gone"]
    assert [service.wait_until_finished(part["job_id"])["state"] for part in job["jobs"]] == ["done"] * 3 + ["failed"]
    assert len(service.wait_for_messages(3)) == 3


def test_image_size_sets_the_size_of_the_requested_images(service: Service, library: Library) -> None:
    url = library.offer_manifest([Scan(1200, 1600, version=2)], version=2)
    job_id = service.detect(url, image_size="full")
    assert service.wait_until_finished(job_id)["state"] == "done"
    assert library.paths[-1] == "/iiif/1/full/full/0/default.jpg"
    job_id = service.detect(url, image_size="400")
    assert service.wait_until_finished(job_id)["state"] == "done"
    assert library.paths[-1] == "/iiif/1/full/300,/0/default.jpg"


@pytest.fixture
def page(service: Service) -> Iterator[Any]:
    """A tab of Chromium in which nobody is signed in. The test fails if a script fails."""
    from playwright.sync_api import sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(base_url=service.api)
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        browser.close()
    assert problems == []


@NEEDS_CHROMIUM
def test_a_manifest_becomes_a_data_set_of_corrected_pages(service: Service, document: Document, page: Any) -> None:
    page.goto("/ui")
    page.fill("#key", service.headers["X-API-Key"])
    page.click("button.main")
    page.fill("#manifest", document.url)
    page.click("text=Start")
    page.wait_for_selector(".state.done")
    job = page.url
    assert page.locator("ol.strip li.empty").count() == 6
    for number in range(1, CORRECTED + 1):
        page.goto(f"{job}/pages/{number}")
        page.click("#correct")
        page.keyboard.press("a")
        page.fill("#corrector", "A. Scholar")
        page.click("#editor button.main")
        page.wait_for_selector("form.corrected")
    page.goto(job)
    page.fill("[name=name]", "corrected")
    page.click(f"text=Make a data set of {CORRECTED} corrected pages")
    page.wait_for_url("**/ui/datasets*")
    datasets = requests.get(f"{service.api}/datasets", headers=service.headers, timeout=10).json()
    assert [each["name"] for each in datasets["datasets"]] == ["corrected"]
    exported = requests.get(
        f"{job.replace('/ui', '')}/annotations?corrected=true", headers=service.headers, timeout=10
    ).text
    assert len([line for line in exported.splitlines() if line.count(" ") == 3]) == CORRECTED
