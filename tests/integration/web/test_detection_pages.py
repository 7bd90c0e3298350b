"""The pages of a detection job: removed images, labels of pages, links between long lists, and words for figures."""

import os
import re
from pathlib import Path

import pytest

from app.database.tables import Delivery
from app.delivery.kinds import Status
from app.detection.annotations import AnnotatedPage, PageStatus
from app.services import Services
from app.web import detection_page
from app.web.rendering import load_texts
from tests.integration.web.conftest import Browser
from tests.support.exported_results import SOURCE, save_result
from tests.support.rows import change_job

REMOVED = "The images were removed after 7 days without use: detect again to see them."


def find_image(services: Services, number: int) -> Path:
    return services.storage.images(SOURCE) / f"{number}.image"


def test_thumbnails_stay_when_the_images_were_removed(browser: Browser, services: Services, detected: str) -> None:
    path = f"/ui/jobs/{detected}"
    thumbnail = browser.get(f"{path}/thumbnails/1.jpg").data
    services.storage.job(detected).pages.save({3: {"number": 3, "file": "damaged.image"}})  # it has failed
    assert all(REMOVED not in browser.get(f"{path}{view}").text for view in ("", "/pages/1", "/illustrations"))
    find_image(services, 1).unlink()
    assert all(REMOVED in browser.get(f"{path}{view}").text for view in ("", "/pages/1", "/illustrations"))
    answer = browser.get(f"{path}/thumbnails/1.jpg")
    assert (answer.status_code, answer.data) == (200, thumbnail)
    assert f'src="{path}/thumbnails/1.jpg"' in browser.get(f"{path}/pages/1").text
    assert browser.get(f"{path}/pages/1.jpg").status_code == 404


def test_a_page_whose_image_was_removed_has_no_editor(browser: Browser, services: Services, detected: str) -> None:
    find_image(services, 1).unlink()
    assert "editor.js" not in browser.get(f"/ui/jobs/{detected}/pages/1").text


@pytest.mark.parametrize("view", ["thumbnails/1.jpg", "pages/1.jpg", "illustrations/1-1.jpg"])
def test_to_look_at_an_image_counts_as_use(browser: Browser, services: Services, detected: str, view: str) -> None:
    image = find_image(services, 1)
    image.with_suffix(".json").touch()
    for path in (image, image.with_suffix(".json")):
        os.utime(path, (0, 0))
    assert browser.get(f"/ui/jobs/{detected}/{view}").status_code == 200
    assert services.storage.remove_old_images(7) == 0


def test_the_label_of_a_page_is_shown(browser: Browser, detected: str) -> None:
    page = browser.get(f"/ui/jobs/{detected}/pages/1").text
    assert '<h1>Page 1 of 4 <span class="quiet">fol. 1r</span></h1>' in page


def test_a_page_is_chosen_by_its_number(browser: Browser, detected: str) -> None:
    for number, found in (("2", "2"), ("-1", "0"), ("x", "0")):
        answer = browser.get(f"/ui/jobs/{detected}/pages?number={number}")
        assert answer.location == f"/ui/jobs/{detected}/pages/{found}"


def test_a_page_leads_back_to_its_part_of_the_list(
    browser: Browser, detected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection_page, "SHOWN_PAGES", 2)
    assert f'href="/ui/jobs/{detected}?offset=2"' in browser.get(f"/ui/jobs/{detected}/pages/3").text
    assert f'href="/ui/jobs/{detected}">' in browser.get(f"/ui/jobs/{detected}/pages/2").text
    assert f'href="/ui/jobs/{detected}?offset=2#pages" rel="next"' in browser.get(f"/ui/jobs/{detected}").text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (SOURCE, f'<dd><a href="{SOURCE}" rel="noreferrer">'),
        ("javascript:alert(1)", "<dd>javascript:alert(1)</dd>"),
        ("", "<dd>scan.pdf</dd>"),
    ],
)
def test_only_a_web_address_is_a_link(
    browser: Browser, services: Services, detected: str, url: str, shown: str
) -> None:
    request = services.jobs.find(detected).request | {"manifest_url": url, "file_name": "scan.pdf"}
    change_job(services.database, detected, request=request)
    assert shown in browser.get(f"/ui/jobs/{detected}").text


def test_links_lead_past_the_strip_and_to_the_sections(browser: Browser, detected: str) -> None:
    page = browser.get(f"/ui/jobs/{detected}").text
    for name in ("pages", "failed-pages", "downloads"):
        assert page.index(f'href="#{name}"') < page.index(f'id="{name}"'), name
    assert page.index('href="#pages"') < page.index('<ol class="strip">')


def test_failed_pages_that_are_not_listed_are_counted(
    browser: Browser, services: Services, detected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [AnnotatedPage(n, "", "", None, None, PageStatus.FAILED, reason=f"Reason {n}.") for n in range(1, 5)]
    save_result(services.storage.job(detected), failed, None)
    monkeypatch.setattr(detection_page, "SHOWN_FAILED", 3)
    page = browser.get(f"/ui/jobs/{detected}").text
    assert ("Reason 3." in page, "Reason 4." in page) == (True, False)
    assert f'<a href="/ui/jobs/{detected}?status=failed">Failed pages that are not shown here: 1</a>' in page


def test_times_and_durations_are_written_for_people(browser: Browser, services: Services, detected: str) -> None:
    change_job(services.database, detected, timings={"downloading": 59.94, "running": 5423.7, "delivering": 61.2})
    page = browser.get(f"/ui/jobs/{detected}").text
    assert re.findall("<dd>([0-9][^<]* (?:s|min))</dd>", page) == ["59.9 s", "1 h 30 min", "1 min 1 s"]
    link = browser.post(f"/ui/jobs/{detected}/links", f"/ui/jobs/{detected}").text
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.", link)


@pytest.mark.parametrize("status", [*Status])
def test_deliveries_are_described_in_words(browser: Browser, services: Services, detected: str, status: Status) -> None:
    with services.database.session() as session:
        url = "https://a.example"
        session.add(Delivery(id="d", job_id=detected, url=url, status=status, attempts=1, next_attempt=0.0))
    page = browser.get(f"/ui/jobs/{detected}").text
    assert f'<span class="state {status}">{load_texts()["job"]["delivery_states"][status]}</span>' in page
    assert "1 attempt," in page
    assert "next attempt 1970-01-01 00:00:00 UTC" in page


def test_one_thing_is_not_written_in_the_plural(browser: Browser, services: Services, detected: str) -> None:
    change_job(services.database, detected, coverage={"detected": 1, "empty": 0, "failed": []})
    assert "1 page with illustrations, 0 without" in browser.get("/ui/jobs").text
    assert "1 page with illustrations, " in browser.get("/ui/compare").text
