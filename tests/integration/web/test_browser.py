"""The pages in a real browser, Debian's Chromium: scripts, keys, policy and accessibility."""

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.detection.annotations import AnnotatedPage, PageStatus
from app.pipelines.detection.pages import save_annotated
from app.services import Services
from app.storage import write_atomic
from tests.integration.web.conftest import NEEDS_CHROMIUM
from tests.support.archives import make_image
from tests.support.exported_results import SOURCE, WOODCUT
from tests.support.rows import change_job

pytestmark = NEEDS_CHROMIUM

PAIR = "document1=a&image1=x&document2=b&image2=1"


def test_a_person_signs_in(tab: Any, headers: dict[str, str]) -> None:
    tab.goto("/ui")
    tab.fill("#key", headers["X-API-Key"])
    tab.click("button.main")
    tab.wait_for_url("**/ui/jobs")


def test_the_slider_hides_boxes_below_the_threshold(page: Any, detected: str) -> None:
    page.goto(f"/ui/jobs/{detected}")
    slider = page.locator("#threshold")
    first = page.locator("ol.pages > li").first
    assert first.locator("rect:visible").count() == 2
    slider.fill("0.6")
    assert first.locator("rect:visible").count() == 1
    assert "1 / 2" in first.inner_text()


def test_the_slider_keeps_its_value_on_the_pages_of_a_job(page: Any, detected: str) -> None:
    page.goto(f"/ui/jobs/{detected}")
    page.locator("#threshold").fill("0.6")
    page.goto(f"/ui/jobs/{detected}/pages/1")
    assert page.locator("#threshold").input_value() == "0.6"
    assert page.locator("ol.found > li:visible").count() == 1
    assert page.locator("#all-hidden").inner_text() == ""
    page.locator("#threshold").fill("1")
    assert page.locator("#all-hidden").inner_text() == "All detections are hidden: choose a lower confidence."


def test_arrows_in_the_zoomed_page_do_not_leave_it(page: Any, detected: str) -> None:
    page.goto(f"/ui/jobs/{detected}/pages/1")
    page.click("#zoom-in")
    page.wait_for_selector("#picture.zoomed canvas")
    page.evaluate("window.clicks = 0; addEventListener('click', () => (window.clicks += 1)); null")
    page.locator(".openseadragon-canvas").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.clicks") == 0
    page.locator(".openseadragon-canvas").first.blur()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/pages/2")


def test_cells_of_the_strip_differ_in_forced_colours(page: Any, detected: str) -> None:
    page.emulate_media(forced_colors="active")
    page.goto(f"/ui/jobs/{detected}")
    read = "all => all.map(each => getComputedStyle(each).background)"
    assert len({*page.locator("ol.strip a").evaluate_all(read)}) == 3  # detected, empty, failed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_long_strip_scrolls_and_waiting_cells_are_visible(
    page: Any, waiting: str, services: Services, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)
    change_job(services.database, waiting, total=5000, coverage={"detected": 0, "empty": 0, "failed": []})
    page.goto(f"/ui/jobs/{waiting}")
    assert page.locator("ol.strip").bounding_box()["height"] <= 240
    assert page.locator("ol.strip a").first.evaluate("each => getComputedStyle(each).borderTopWidth") == "1px"


def test_keys_lead_to_other_pages_and_zoom(page: Any, detected: str) -> None:
    page.goto(f"/ui/jobs/{detected}/pages/1")
    page.keyboard.press("n")
    page.wait_for_url("**/pages/4")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/pages/3")
    page.goto(f"/ui/jobs/{detected}/pages/1")
    page.keyboard.press("+")
    page.wait_for_selector("#picture.zoomed canvas")
    assert page.locator("#picture svg.boxes rect").count() == 2


def test_progress_is_shown_without_a_reload(page: Any, waiting: str, services: Services) -> None:
    page.clock.install()
    page.goto(f"/ui/jobs/{waiting}")
    write_atomic(services.storage.images(SOURCE) / "1.image", make_image(size=(500, 400)))
    services.storage.job(waiting).pages.save({1: {"number": 1, "file": "1.image"}})
    change_job(services.database, waiting, state="running", total=4, done=1)
    page.wait_for_selector(".state.running")
    assert page.locator("[data-live=count]").inner_text() == "1 / 4"
    save_annotated(
        services.storage.job(waiting).detections,
        [AnnotatedPage(1, "", "a.jpg", 500, 400, PageStatus.DETECTED, (WOODCUT,))],
    )
    change_job(services.database, waiting, done=2, coverage={"detected": 1, "empty": 0, "failed": []})
    page.clock.fast_forward(4000)  # the pages are replaced at most every four seconds
    page.wait_for_selector("ol.strip li.detected")
    page.locator("#threshold").fill("0.95")  # it keeps the focus
    assert page.locator("ol.pages rect:visible").count() == 0
    page.evaluate("document.querySelector('ol.pages > li').isKept = true")
    services.storage.job(waiting).pages.save({2: {"number": 2, "file": "1.image"}})
    save_annotated(
        services.storage.job(waiting).detections,
        [AnnotatedPage(2, "", "b.jpg", 500, 400, PageStatus.DETECTED, (replace(WOODCUT, confidence=0.1),))],
    )
    change_job(services.database, waiting, done=3, coverage={"detected": 2, "empty": 0, "failed": []})
    page.clock.fast_forward(4000)
    page.wait_for_selector("ol.strip li.detected:nth-child(2)")
    assert page.locator("#threshold:focus").input_value() == "0.95"
    assert page.locator("ol.pages rect").count() == 2
    assert page.locator("ol.pages rect:visible").count() == 0
    assert page.evaluate("document.querySelector('ol.pages > li').isKept")
    assert page.title().startswith("3 / 4 · ")


def test_an_updated_page_keeps_its_focus(page: Any, waiting: str, services: Services) -> None:
    page.clock.install()
    change_job(services.database, waiting, state="running", total=2, coverage={"detected": 0, "empty": 0, "failed": []})
    page.goto(f"/ui/jobs/{waiting}")
    page.locator("ol.pages a").nth(1).focus()
    write_atomic(services.storage.images(SOURCE) / "1.image", make_image(size=(500, 400)))
    services.storage.job(waiting).pages.save({2: {"number": 2, "file": "1.image"}})
    record = AnnotatedPage(2, "", "b.jpg", 500, 400, PageStatus.DETECTED, (WOODCUT,))
    save_annotated(services.storage.job(waiting).detections, [record])
    page.clock.fast_forward(4000)
    change_job(services.database, waiting, done=1)
    page.wait_for_selector("ol.pages li.detected a:focus")


def test_progress_of_a_comparison_fetches_no_page(
    page: Any, client: FlaskClient, headers: dict[str, str], services: Services
) -> None:
    documents = {"a": "https://app.example/list"}
    job_id = client.post("/run_similarity", headers=headers, json={"documents": documents}).json["job_id"]
    fetched: list[str] = []
    page.on("request", lambda request: request.resource_type == "fetch" and fetched.append(request.url))
    page.clock.install()
    page.goto(f"/ui/jobs/{job_id}")
    page.clock.fast_forward(4000)
    change_job(services.database, job_id, state="running", total=4, done=1)
    page.wait_for_selector("[data-live=count]:text-is('1 / 4')")
    change_job(services.database, job_id, done=2)
    page.wait_for_selector("[data-live=count]:text-is('2 / 4')")
    assert fetched == []


def test_progress_after_the_session_leads_to_the_sign_in_form(page: Any, waiting: str) -> None:
    def end_session(route: Any) -> None:
        page.context.clear_cookies()
        route.fulfill(status=204)

    page.route("**/events", end_session, times=1)
    page.goto(f"/ui/jobs/{waiting}")
    page.wait_for_selector("#key")
    assert page.url.endswith(f"next=/ui/jobs/{waiting}")


def test_a_form_that_is_sent_cannot_be_sent_again(page: Any, services: Services) -> None:
    page.goto("/ui/jobs")
    page.fill("#manifest", SOURCE)
    click = "all => { all[0].click(); return all.every((button) => button.disabled); }"
    assert page.locator("form.start button").evaluate_all(click)
    page.wait_for_url("**/ui/jobs/*")
    assert len(services.jobs.list_recent(1)) == 1


def test_buttons_can_be_pressed_when_a_page_is_shown_again(page: Any, waiting: str) -> None:
    page.route("**/cancel", lambda route: route.fulfill(status=204))
    page.goto(f"/ui/jobs/{waiting}")
    page.click("header.job button")
    page.wait_for_selector("header.job button:disabled")
    page.evaluate("dispatchEvent(new Event('pageshow'))")
    page.wait_for_selector("header.job button:enabled")


def test_the_form_keeps_its_fields_when_a_job_ends(
    page: Any, waiting: str, client: FlaskClient, headers: dict[str, str], services: Services
) -> None:
    other = client.post("/run_detect", headers=headers, data={"manifest_url": SOURCE}).json["job_id"]
    page.goto("/ui/jobs")
    page.fill("#manifest", "https://library.example/other/manifest.json")
    change_job(services.database, waiting, state="failed", error_message="It is gone.", finished=1.0)
    page.wait_for_selector(".state.failed")
    change_job(services.database, other, state="running", total=4, done=2)
    page.wait_for_selector("[data-live=count]:text-is('2 / 4')")
    assert "It is gone." in page.locator(f"[data-job='{waiting}']").inner_text()
    assert page.input_value("#manifest") == "https://library.example/other/manifest.json"


def test_progress_goes_on_after_an_answer_that_is_no_stream(page: Any, waiting: str, services: Services) -> None:
    page.clock.install()
    answers = iter([lambda route: route.fulfill(status=204)])
    page.route("**/events", lambda route: next(answers, lambda later: later.continue_())(route))
    with page.expect_response("**/events"):
        page.goto(f"/ui/jobs/{waiting}")
    change_job(services.database, waiting, state="running", total=4, done=1)
    page.clock.run_for(11_000)
    page.wait_for_selector(".state.running")


def test_two_prints_are_faded_into_each_other(page: Any, compared: str) -> None:
    page.goto(f"/ui/jobs/{compared}/pair?{PAIR}")
    page.locator("#fade").fill("0.2")
    assert page.locator("#second").get_attribute("opacity") == "0.2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_breaks_a_rule_of_accessibility(page: Any, detected: str, compared: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    detection, comparison = f"/ui/jobs/{detected}", f"/ui/jobs/{compared}"
    views = ["/ui/jobs", detection, f"{detection}/pages/1", f"{detection}/illustrations", "/ui/search", "/ui/models"]
    views += [comparison, f"{comparison}/pair?{PAIR}", f"{comparison}/groups", "/ui/models/illustrations.pt"]
    for view in views:
        page.goto(view)
        found = Axe().run(page).response["violations"]
        assert [(view, each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_no_page_is_wider_than_a_phone(page: Any, detected: str, compared: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for view in (
        "/ui/jobs",
        f"/ui/jobs/{detected}",
        f"/ui/jobs/{detected}/pages/1",
        f"/ui/jobs/{compared}",
        "/ui/search",
    ):
        page.goto(view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view


def test_a_rectangle_is_drawn_to_search_for_it(page: Any, detected: str) -> None:
    page.goto(f"/ui/jobs/{detected}/pages/1")
    page.click("details.region summary")
    box = page.locator("#picture").bounding_box()
    scale = box["width"] / 1000
    page.mouse.move(box["x"] + 100 * scale, box["y"] + 50 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 300 * scale, box["y"] + 250 * scale)
    page.mouse.up()
    drawn = [int(number) for number in page.input_value("#region").split(",")]
    assert drawn == pytest.approx([100, 50, 200, 200], abs=3)
