"""From the address of a manifest to a data set of corrected pages, in a real browser and a real service."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.web.conftest import CHROMIUM, NEEDS_CHROMIUM
from tests.support.service import Document, Service

pytestmark = NEEDS_CHROMIUM
CORRECTED = 5


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
