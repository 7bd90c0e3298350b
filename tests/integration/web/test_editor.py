"""The editor of boxes in a real browser: pointer, keys, undo, and saving."""

from typing import Any

import pytest

from app.detection.corrections import load_corrections
from app.services import Services
from tests.integration.web.conftest import NEEDS_CHROMIUM

pytestmark = NEEDS_CHROMIUM

FIRST = [100, 200, 300, 400]
RECTS = "svg.edit rect"


@pytest.fixture
def editor(page: Any, detected: str) -> Any:
    """The editor of page 1, which has 1000 x 800 pixels and two detections. The first box is selected."""
    page.goto(f"/ui/jobs/{detected}/pages/1")
    page.click("#correct")
    page.wait_for_selector(RECTS)
    return page


def read_boxes(page: Any) -> list[list[int]]:
    """Return the ``xywh`` of all boxes in the editor."""
    read = "all => all.map(each => ['x', 'y', 'width', 'height'].map(name => Number(each.getAttribute(name))))"
    found: list[list[int]] = page.locator(RECTS).evaluate_all(read)
    return found


def drag(page: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag the mouse between two points of the full-size image."""
    area = page.locator("svg.edit").bounding_box()
    points = [(area["x"] + x / 1000 * area["width"], area["y"] + y / 800 * area["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=3)
    page.mouse.up()


def is_near(found: list[int], wanted: list[int]) -> bool:
    """Return whether boxes agree up to the size of a pixel of the screen."""
    return all(abs(one - other) <= 3 for one, other in zip(found, wanted, strict=True))


def test_the_editor_begins_with_the_boxes_inside_of_the_page(editor: Any) -> None:
    assert read_boxes(editor) == [FIRST, [900, 700, 100, 100]]
    assert editor.locator("svg.boxes").is_hidden()
    assert editor.locator("#edited").inner_text() == "Boxes: 2"


def test_a_box_is_moved_by_the_mouse_and_stays_on_the_page(editor: Any) -> None:
    drag(editor, (250, 400), (350, 450))
    assert is_near(read_boxes(editor)[0], [200, 250, 300, 400])
    drag(editor, (350, 450), (0, 0))
    assert read_boxes(editor)[0] == [0, 0, 300, 400]
    assert editor.locator("#edited").inner_text() == "Boxes: 2, not saved"


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ((400, 600), (500, 700), [100, 200, 400, 500]),
        ((100, 200), (150, 250), [150, 250, 250, 350]),
        ((100, 400), (50, 500), [50, 200, 350, 400]),
        ((250, 600), (0, 0), [100, 200, 300, 2]),
    ],
)
def test_edges_and_corners_are_dragged(
    editor: Any, start: tuple[int, int], end: tuple[int, int], wanted: list[int]
) -> None:
    drag(editor, start, end)
    assert is_near(read_boxes(editor)[0], wanted)


def test_a_box_is_drawn_on_empty_space(editor: Any) -> None:
    drag(editor, (800, 500), (600, 100))
    assert is_near(read_boxes(editor)[2], [600, 100, 200, 400])
    assert editor.evaluate("document.activeElement.classList.contains('selected')")
    drag(editor, (600, 20), (601, 21))  # a click draws nothing
    assert len(read_boxes(editor)) == 3


def test_a_box_is_drawn_and_selected_inside_of_another_one(editor: Any) -> None:
    editor.keyboard.down("Shift")
    drag(editor, (200, 300), (300, 400))
    editor.keyboard.up("Shift")
    assert is_near(read_boxes(editor)[2], [200, 300, 100, 100])
    drag(editor, (350, 550), (360, 560))
    drag(editor, (250, 350), (270, 370))
    assert is_near(read_boxes(editor)[2], [220, 320, 100, 100])


def test_keys_select_move_resize_add_and_delete(editor: Any) -> None:
    press = editor.keyboard.press
    press("ArrowRight")
    press("Shift+ArrowDown")
    press("Alt+ArrowLeft")
    assert read_boxes(editor)[0] == [101, 210, 299, 400]
    press("Tab")
    press("ArrowLeft")
    assert read_boxes(editor)[1] == [899, 700, 100, 100]
    press("Delete")
    press("a")
    assert read_boxes(editor) == [[101, 210, 299, 400], [375, 300, 250, 200]]
    assert "/pages/1" in editor.url


def test_every_step_is_undone_and_redone(editor: Any) -> None:
    before = read_boxes(editor)
    editor.keyboard.press("ArrowRight")
    drag(editor, (800, 500), (600, 100))
    editor.keyboard.press("Delete")
    after = read_boxes(editor)
    for _ in range(3):
        editor.keyboard.press("Control+z")
    assert read_boxes(editor) == before
    assert editor.locator("#undo").is_disabled()
    for _ in range(3):
        editor.keyboard.press("Control+Shift+Z")
    assert read_boxes(editor) == after
    editor.click("#undo")
    assert len(read_boxes(editor)) == 3
    editor.keyboard.press("a")  # a new step drops the undone ones
    assert editor.locator("#redo").is_disabled()


def test_the_class_of_the_selected_box_is_changed(editor: Any) -> None:
    editor.keyboard.press("Tab")
    assert editor.locator("#class-name").input_value() == "initial"
    editor.fill("#class-name", "diagram")
    editor.keyboard.press("Enter")
    editor.keyboard.press("Control+z")
    assert "initial" in editor.locator(RECTS).nth(1).get_attribute("aria-label")


def test_a_typed_class_belongs_to_the_box_that_was_selected(editor: Any) -> None:
    editor.fill("#class-name", "diagram")
    drag(editor, (950, 750), (950, 750))
    labels = [editor.locator(RECTS).nth(number).get_attribute("aria-label") for number in (0, 1)]
    assert "diagram" in labels[0]
    assert "initial" in labels[1]
    assert editor.locator("#class-name").input_value() == "initial"


def test_a_correction_is_saved_and_shown(editor: Any, detected: str, services: Services) -> None:
    drag(editor, (250, 400), (350, 450))
    editor.keyboard.press("Tab")
    editor.fill("#class-name", "diagram")
    editor.fill("#corrector", "Ada")
    editor.click("form.editor button.main")
    editor.wait_for_selector("form.corrected")
    assert "Corrected by Ada on" in editor.locator("form.corrected").inner_text()
    (saved,) = load_corrections(services.storage.job(detected)).values()
    assert is_near([*saved.boxes[0].xywh], [200, 250, 300, 400])
    assert [box.class_name for box in saved.boxes] == ["illustration", "diagram"]
    editor.click("#correct")
    assert editor.locator("#corrector").input_value() == "Ada"


def test_saving_leads_to_the_editor_of_the_next_page(editor: Any, detected: str, services: Services) -> None:
    editor.click("button[name=next]")
    editor.wait_for_url("**/pages/2#correct")
    editor.wait_for_selector("body.editing")
    editor.keyboard.press("a")
    assert read_boxes(editor) == [[225, 338, 150, 225]]
    assert [*load_corrections(services.storage.job(detected))] == [1]


def test_changes_survive_the_end_of_the_session(editor: Any, headers: dict[str, str], detected: str) -> None:
    editor.keyboard.press("ArrowRight")
    editor.context.clear_cookies()
    editor.click("form.editor button.main")
    editor.fill("#key", headers["X-API-Key"])
    editor.click("button.main")
    editor.wait_for_url(f"**/ui/jobs/{detected}/pages/1")
    editor.wait_for_selector("body.editing")
    assert read_boxes(editor)[0] == [101, 200, 300, 400]
    editor.click("form.editor button.main")
    editor.wait_for_selector("form.corrected")
    editor.reload()
    assert editor.locator("body.editing").count() == 0


def test_discarded_changes_are_gone(editor: Any, detected: str, services: Services) -> None:
    editor.keyboard.press("Delete")
    editor.click("#stop")
    editor.wait_for_selector("body:not(.editing) svg.boxes rect")
    assert editor.locator("svg.boxes rect").count() == 2
    assert load_corrections(services.storage.job(detected)) == {}


def test_a_zoomed_page_can_be_corrected_at_every_size(page: Any, detected: str) -> None:
    page.goto(f"/ui/jobs/{detected}/pages/1")
    page.click("#zoom-in")
    page.wait_for_selector("#picture.zoomed canvas")
    page.click("#correct")
    page.wait_for_selector(RECTS)
    small = page.locator("svg.edit").bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator("svg.edit").bounding_box()["width"] == pytest.approx(1.5 * small, rel=0.05)
    page.keyboard.press("-")
    drag(page, (250, 400), (350, 450))
    assert is_near(read_boxes(page)[0], [200, 250, 300, 400])


def test_a_finger_moves_a_box(chromium: Any, editor: Any) -> None:
    area = editor.locator("svg.edit").bounding_box()
    touch = editor.context.new_cdp_session(editor)

    def send(kind: str, x: int, y: int) -> None:
        point = {"x": area["x"] + x / 1000 * area["width"], "y": area["y"] + y / 800 * area["height"]}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if kind == "touchEnd" else [point]})

    send("touchStart", 250, 400)
    send("touchMove", 300, 420)
    send("touchMove", 350, 450)
    send("touchEnd", 350, 450)
    editor.wait_for_function("document.querySelector('#edited').value.includes('not saved')")
    assert is_near(read_boxes(editor)[0], [200, 250, 300, 400])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_editor_breaks_no_rule_of_accessibility(editor: Any, detected: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    editor.emulate_media(color_scheme=scheme)
    editor.keyboard.press("ArrowRight")
    found = Axe().run(editor).response["violations"]
    editor.click("form.editor button.main")
    for path in (f"/ui/jobs/{detected}/pages/1", f"/ui/jobs/{detected}", "/ui/datasets"):
        editor.goto(path)
        found += Axe().run(editor).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_the_editor_fits_a_phone(editor: Any) -> None:
    editor.set_viewport_size({"width": 360, "height": 740})
    assert editor.evaluate("document.documentElement.scrollWidth") <= 360
