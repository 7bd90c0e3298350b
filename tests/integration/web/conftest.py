"""Fixtures: a signed-in browser, a finished detection job, and a finished similarity job."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.jobs.states import STAGES
from app.server.sessions import ROOT_PATH
from app.services import Services
from app.storage import write_atomic
from tests.conftest import serve_on_loopback
from tests.support.archives import make_image
from tests.support.comparison_results import NONE, SAME, save_verified
from tests.support.comparison_results import save_result as save_comparison
from tests.support.exported_results import PAGES, SOURCE, save_result
from tests.support.rows import change_job

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: sudo apt-get install chromium")
IMAGES = {"b": ["1", "2"], "a": ["x", "y"]}


@dataclass
class Browser:
    """A client without JavaScript that keeps cookies, and sends the token of the last page with its forms."""

    client: FlaskClient

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, page: str = "/ui/jobs", **fields: Any) -> TestResponse:
        """Send a form, as the page at ``page`` has it."""
        return self.client.post(path, data={"csrf": self.find_token(page), **fields})

    def find_token(self, page: str, **options: Any) -> str:
        token = re.search('name="csrf" value="([^"]+)"', self.get(page, **options).text)
        return token[1] if token else ""

    def sign_in(self, key: str, target: str = "", **options: Any) -> TestResponse:
        form = {"csrf": self.find_token("/ui/sign-in", **options), "key": key, "next": target}
        return self.client.post("/ui/sign-in", data=form, **options)


@pytest.fixture
def stranger(app: Flask) -> Browser:
    """A browser in which nobody is signed in."""
    return Browser(app.test_client())


@pytest.fixture
def browser(app: Flask, headers: dict[str, str]) -> Browser:
    """A browser in which the client app ``front`` is signed in."""
    browser = Browser(app.test_client())
    browser.sign_in(headers["X-API-Key"])
    return browser


@pytest.fixture
def finish(services: Services) -> Callable[[str], None]:
    """A function that brings the only unfinished job to state done."""

    def run(job_id: str) -> None:
        for stage in STAGES:
            services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)

    return run


@pytest.fixture
def waiting(client: FlaskClient, headers: dict[str, str]) -> str:
    """A detection job in state queued."""
    job_id: str = client.post("/run_detect", headers=headers, data={"manifest_url": SOURCE}).json["job_id"]
    return job_id


@pytest.fixture
def detected(services: Services, waiting: str, finish: Callable[[str], None]) -> str:
    """A detection job in state done. Page 1 has two detections, 2 none, 3 has failed, and 4 has hostile names."""
    finish(waiting)
    coverage = {"detected": 2, "empty": 1, "failed": [{"canvas_number": 3, "reason": "It answered 404."}]}
    change_job(
        services.database, waiting, manifest_ref="ms <b>", model_label="eida_04_2024", coverage=coverage, total=4
    )
    folder = services.storage.job(waiting)
    save_result(folder, PAGES)
    for number, file in ((1, "1.image"), (2, "2.image"), (3, None), (4, "4.image")):
        folder.pages.save({number: {"number": number, "file": file}})
        if file:
            write_atomic(services.storage.images(SOURCE) / file, make_image(size=(500, 400)))
    return waiting


@pytest.fixture
def compared(client: FlaskClient, headers: dict[str, str], services: Services, finish: Callable[[str], None]) -> str:
    """A similarity job in state done: image x of document a and image 1 of document b show the same block."""
    documents = dict.fromkeys(IMAGES, "https://app.example/list")
    request = {"documents": documents, "transpositions": ["hflip"]}
    job_id: str = client.post("/run_similarity", headers=headers, json=request).json["job_id"]
    finish(job_id)
    save_comparison(services.storage.job(job_id), [*IMAGES])
    save_verified(services.storage, job_id, IMAGES, {("a", 0, "b", 0): SAME, ("a", 0, "b", 1): NONE})
    return job_id


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, app: Flask) -> Iterator[Any]:
    """A tab of Chromium. The test fails if a script fails or the policy blocks something."""
    problems: list[str] = []
    with serve_on_loopback(app, threaded=True) as port:
        context = chromium.new_context(base_url=f"http://127.0.0.1:{port}", viewport={"width": 1200, "height": 900})
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        yield page
        context.close()
    assert problems == []


@pytest.fixture
def page(tab: Any, browser: Browser) -> Any:
    """A tab in which ``front`` is signed in: it has the cookie of the browser without JavaScript."""
    cookie = browser.client.get_cookie("extractor_session", path=ROOT_PATH)
    assert cookie
    place = {"domain": "127.0.0.1", "path": cookie.path}
    tab.context.add_cookies([place | {"name": cookie.key, "value": cookie.value, "sameSite": "Lax"}])
    return tab
