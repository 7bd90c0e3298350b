import json

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.exports.annotation_files import describe_pages, format_text

BOX = BoxRecord((1, 2, 3, 4), 0.9, 0, "illustration")
PAGES = [
    AnnotatedPage(1, "c1", "a.jpg", 10, 20, PageStatus.DETECTED, (BOX, BOX)),
    AnnotatedPage(2, "c2", "b.jpg", 10, 20, PageStatus.EMPTY),
    AnnotatedPage(3, "c3", "c.jpg", None, None, PageStatus.FAILED, reason="It answered 404."),
    AnnotatedPage(4, "c4", "d.jpg", 10, 20, PageStatus.DETECTED, (BOX,)),
]


def test_a_failed_canvas_has_no_line_and_shifts_no_number() -> None:
    assert format_text(PAGES) == "1 a.jpg\n1 2 3 4\n1 2 3 4\n2 b.jpg\n4 d.jpg\n1 2 3 4\n"


def test_whitespace_in_an_image_name_is_an_underscore() -> None:
    page = AnnotatedPage(1, "c1", "vol 1\u00a0\tPage 001.jpg", 10, 20, PageStatus.DETECTED, (BOX,))
    assert format_text([page]) == "1 vol_1__Page_001.jpg\n1 2 3 4\n"


def test_the_json_lists_every_canvas() -> None:
    pages = json.loads(json.dumps(describe_pages(PAGES)))
    assert [(page["number"], page["status"]) for page in pages] == [
        (1, "detected"),
        (2, "empty"),
        (3, "failed"),
        (4, "detected"),
    ]
    assert pages[2]["reason"] == "It answered 404."
    assert pages[0]["detections"][0] == {
        "xywh": [1, 2, 3, 4],
        "confidence": 0.9,
        "class_id": 0,
        "class_name": "illustration",
    }
