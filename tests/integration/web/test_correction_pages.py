"""Corrections of a page and data sets made of them, without JavaScript."""

import json
import re

import pytest
from flask import Flask

from app.auth import add_app
from app.detection.annotations import AnnotatedPage, PageStatus
from app.detection.corrections import load_corrections
from app.services import Services
from app.storage import write_atomic
from tests.integration.web.conftest import Browser
from tests.support.archives import make_image
from tests.support.exported_results import SOURCE, WOODCUT, save_result
from tests.support.rows import change_job

BOXES = json.dumps([{"xywh": [10, 20, 30, 40], "class_name": "<b>"}])


def correct(browser: Browser, job_id: str, number: int, boxes: str = BOXES, **fields: str) -> str:
    """Send the form of the editor; return the path that it leads to."""
    page = f"/ui/jobs/{job_id}/pages/{number}"
    answer = browser.post(f"{page}/corrections", page, boxes=boxes, back=page, **fields)
    assert answer.status_code == 302
    return str(answer.location)


@pytest.fixture
def long(services: Services, detected: str) -> str:
    """The detection job with six pages."""
    pages = [AnnotatedPage(n, "", f"{n}.jpg", 500, 400, PageStatus.DETECTED, (WOODCUT,)) for n in range(1, 7)]
    folder = services.storage.job(detected)
    save_result(folder, pages, None)
    for page in pages:
        folder.pages.save({page.number: {"number": page.number, "file": f"{page.number}.image"}})
        write_atomic(services.storage.images(SOURCE) / f"{page.number}.image", make_image("JPEG", (50, 40)))
    return detected


def test_a_corrected_page_says_by_whom_and_when(browser: Browser, detected: str) -> None:
    assert correct(browser, detected, 1, by="Ada <i>") == f"/ui/jobs/{detected}/pages/1"
    page = browser.get(f"/ui/jobs/{detected}/pages/1").text
    assert "The correction of page 1 is saved: it has 1 illustration." in page
    assert re.search(r"Corrected by Ada &lt;i&gt; on \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", page)
    assert '<rect x="10" y="20" width="30" height="40"' in page
    assert "<b>" not in page
    assert 'width="300"' not in page
    assert "Search for this" not in page
    sheet = browser.get(f"/ui/jobs/{detected}/illustrations").text
    assert re.search(r"/illustrations/1-1\.jpg\?v=\d", sheet), "a browser would show the image that it has kept"
    assert ">corrected</span>" in sheet


def test_strip_tabs_and_downloads_know_corrected_pages(browser: Browser, detected: str) -> None:
    before = browser.get(f"/ui/jobs/{detected}").text
    assert "With the corrections" not in before
    correct(browser, detected, 2)
    page = browser.get(f"/ui/jobs/{detected}").text
    assert page.count('class="corrected" title') == 1
    assert "Make a data set of 1 corrected page" in page
    shown = browser.get(f"/ui/jobs/{detected}?status=corrected").text
    assert shown.count('class="picture"') == 1
    answer = browser.get(f"/ui/jobs/{detected}/annotations?format=csv&corrected=true")
    assert "-corrected.csv" in answer.headers["Content-Disposition"]
    assert "10,20,30,40" in answer.text


def test_a_page_goes_back_to_its_detections(browser: Browser, detected: str) -> None:
    correct(browser, detected, 1, "[]")
    page = f"/ui/jobs/{detected}/pages/1"
    shown = browser.get(page).text
    assert "No illustration was found on this page." in shown
    assert re.search(
        r"<details><summary>Remove this correction</summary>[^<]* <button>Remove</button></details>", shown
    )
    browser.post(f"{page}/detections", page, back=page)
    assert "Page 1 has its detections again." in browser.get(page).text
    assert 'width="300"' in browser.get(page).text


def test_saving_may_lead_to_the_next_page(browser: Browser, detected: str) -> None:
    assert correct(browser, detected, 1, next="2") == f"/ui/jobs/{detected}/pages/2#correct"


@pytest.mark.parametrize("boxes", ["", "x", "[1]", json.dumps([{"xywh": [0, 0, 5000, 5000]}])])
def test_a_refused_correction_is_explained_on_the_page(browser: Browser, detected: str, boxes: str) -> None:
    page = correct(browser, detected, 1, boxes)
    assert page == f"/ui/jobs/{detected}/pages/1"
    assert 'class="message error" role="status">boxes' in browser.get(page).text


def test_a_correction_needs_the_token_and_the_job_of_the_session(
    app: Flask, browser: Browser, services: Services, detected: str
) -> None:
    path = f"/ui/jobs/{detected}/pages/1/corrections"
    browser.client.post(path, data={"boxes": "[]", "csrf": "wrong"})
    other = Browser(app.test_client())
    other.sign_in(add_app(services.database, "other"))
    assert other.post(path, boxes="[]").status_code == 404
    assert load_corrections(services.storage.job(detected)) == {}


@pytest.mark.parametrize("number", [3, 5])
def test_pages_without_an_image_have_no_editor(browser: Browser, detected: str, number: int) -> None:
    assert "editor.js" not in browser.get(f"/ui/jobs/{detected}/pages/{number}").text


def test_a_failed_page_with_an_image_can_be_corrected(browser: Browser, services: Services, long: str) -> None:
    failed = AnnotatedPage(1, "", "1.jpg", 500, 400, PageStatus.FAILED, reason="The memory is full.")
    save_result(services.storage.job(long), [failed], None)
    page = browser.get(f"/ui/jobs/{long}/pages/1").text
    assert "The memory is full." in page
    assert "editor.js" in page
    correct(browser, long, 1)
    page = browser.get(f"/ui/jobs/{long}/pages/1").text
    assert "The memory is full." not in page
    assert '<rect x="10"' in page


def test_an_unfinished_job_has_no_editor(browser: Browser, services: Services, detected: str) -> None:
    assert "editor.js" in browser.get(f"/ui/jobs/{detected}/pages/1").text
    change_job(services.database, detected, state="running", finished=None)
    assert "editor.js" not in browser.get(f"/ui/jobs/{detected}/pages/1").text


def test_corrected_pages_become_a_data_set_and_train_weights(browser: Browser, services: Services, long: str) -> None:
    for number in range(1, 7):
        correct(browser, long, number)
    page = f"/ui/jobs/{long}"
    assert 'value="ms-b"' in browser.get(page).text
    answer = browser.post(f"{page}/dataset", page, name="ms-b", back=page)
    assert answer.location == "/ui/datasets#ms-b"
    shown = browser.get("/ui/datasets").text
    assert "pages for train: 5 (illustrations: 5); pages for val: 1 (illustrations: 1)" in shown
    fields = {"data": "ms-b", "epochs": "30", "model": "", "name": "learned"}
    answer = browser.post("/ui/datasets/train", "/ui/datasets", **fields)
    (training,) = services.jobs.list_recent(1, None, 1)
    assert answer.location == f"/ui/jobs/{training.id}"
    assert (training.kind, training.request["epochs"]) == ("training", 30)
    figures = {"precision": 0.5, "recall": 0.75, "ap50": None, "ap75": 0.4, "ap50_95": 0.25}
    after = figures | {"recall": 0.9, "intervals": {"recall": [0.8, 0.95]}}
    found = {"figures_before": {"val": {"overall": figures}}, "figures": {"val": {"overall": after}}}
    change_job(services.database, training.id, coverage=found, model_label="illustrations_11_2026")
    shown = browser.get("/ui/datasets").text
    rows = [re.findall(r"<t[hd][^>]*>([^<]+)", row) for row in shown.split("<tr>")[2:]]
    assert [[cell.strip() for cell in row[:6]] for row in rows] == [
        ["learned", "0.500", "0.900", "–", "0.400", "0.250"],
        ["illustrations_11_2026", "0.500", "0.750", "–", "0.400", "0.250"],
    ]
    assert "0.80–0.95" in shown


def test_too_few_corrected_pages_are_explained(browser: Browser, detected: str) -> None:
    correct(browser, detected, 1)
    page = f"/ui/jobs/{detected}"
    answer = browser.post(f"{page}/dataset", page, name="x", back=page)
    assert answer.location == page
    assert "A data set needs at least 5 corrected pages" in browser.get(page).text
    assert "There are no data sets yet." in browser.get("/ui/datasets").text
