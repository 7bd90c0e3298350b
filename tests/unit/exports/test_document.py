import json
import zipfile
from io import BytesIO

import pytest

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.exports import FORMATS
from app.exports.annotation_files import describe_pages, format_text, parse_pages
from app.exports.archive import format_zip
from app.exports.document import ExportedDocument, name_files
from app.exports.manifest import format_manifest
from app.sources.listing import Kind, ListedPage, Listing
from app.storage import JobFolder, write_atomic
from tests.support.exported_results import ADDRESS, BASE, PAGES, WOODCUT, build_canvas, load_result, save_result


def test_json_is_parsed_back_into_the_same_pages(folder: JobFolder) -> None:
    assert tuple(parse_pages(folder.annotations_json.read_bytes())) == PAGES


def test_text_and_json_are_those_of_the_api(document: ExportedDocument) -> None:
    assert FORMATS["text"].write(document) == format_text(PAGES)
    assert tuple(parse_pages(FORMATS["json"].write(document).encode())) == PAGES  # type: ignore[union-attr]
    assert len(describe_pages(PAGES)) == 4


def test_boxes_are_scaled_to_the_canvas(document: ExportedDocument) -> None:
    first, *_ = document.pages
    assert (first.size, first.canvas_size) == ((1000, 800), (500, 400))
    assert [first.scale_to_canvas(box) for box in first.boxes] == [(50, 100, 150, 200), (450, 350, 50, 50)]


def test_a_box_in_canvas_units_is_never_empty_or_outside(folder: JobFolder) -> None:
    corner = BoxRecord((999, 799, 1, 1), 0.5, 0, "x")
    page = AnnotatedPage(1, "", "a.jpg", 1000, 800, PageStatus.DETECTED, (corner,))
    save_result(folder, [page], {"type": "Manifest", "items": [build_canvas(1, 10, 8)]})
    (found,) = load_result(folder).pages
    assert found.scale_to_canvas(corner) == (9, 7, 1, 1)


@pytest.mark.parametrize(
    "target",
    [
        f"{BASE}/canvas/1#xywh=1000,20,500,400",
        {"source": f"{BASE}/canvas/1", "selector": {"type": "FragmentSelector", "value": "xywh=1000,20.5,500,400"}},
    ],
)
def test_an_image_on_a_part_of_the_canvas_moves_its_boxes(folder: JobFolder, target: object) -> None:
    canvas = build_canvas(1, 2000, 3000)
    canvas["items"][0]["items"][0]["target"] = target
    save_result(folder, PAGES[:1], {"type": "Manifest", "items": [canvas]})
    (page,) = load_result(folder).pages
    assert page.scale_to_canvas(WOODCUT) == (1050, 120, 150, 200)
    (shown,) = json.loads(format_manifest(load_result(folder)))["items"]
    assert (shown["id"], shown["width"]) == (f"{ADDRESS}/canvas/1", 1000), "viewers show the image alone"


def test_a_job_without_a_manifest_has_pages_with_cached_images(folder: JobFolder) -> None:
    folder.manifest.unlink()
    first, *_ = load_result(folder, "?signature=x").pages
    assert first.image_url == f"{ADDRESS}/pages/1.jpg?signature=x"
    assert (first.canvas_size, first.build_crop_url(WOODCUT)) == ((1000, 800), "")


def test_canvases_with_the_same_id_get_urls_of_their_own(folder: JobFolder) -> None:
    save_result(folder, manifest={"type": "Manifest", "items": [build_canvas(1, 5, 4), build_canvas(1, 5, 4)]})
    assert [page.canvas_url for page in load_result(folder).pages][:2] == [
        f"{ADDRESS}/canvas/1",
        f"{ADDRESS}/canvas/2",
    ]


def test_an_address_that_is_no_url_is_not_the_id_of_a_canvas(document: ExportedDocument) -> None:
    assert [page.canvas_url for page in document.pages][2:] == [f"{BASE}/canvas/3", f"{ADDRESS}/canvas/4"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "A.png"], ["0001_a.jpg", "0002_A.png"]),
        (["../../etc/passwd", "C:\\x.jpg"], ["_.._etc_passwd", "C__x.jpg"]),
        (["..", "\x00\n"], ["page.jpg", "__"]),
        (["", "."], ["0001_page.jpg", "0002_page.jpg"]),
        (["x" * 300 + ".jpg"], ["x" * 110 + ".jpg"]),
    ],
)
def test_file_names_are_safe_and_unique(names: list[str], expected: list[str]) -> None:
    assert name_files(list(enumerate(names, 1))) == expected


def test_the_same_result_gives_the_same_zip_file() -> None:
    files = [("a.txt", b"1"), ("b.txt", b"2")]
    assert format_zip(files) == format_zip(files)
    with zipfile.ZipFile(BytesIO(format_zip(files))) as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == dict(files)


def test_pages_of_a_file_have_the_images_of_this_server(folder: JobFolder) -> None:
    pages = [ListedPage("1.jpg", "1.jpg"), ListedPage("2.jpg", "2.jpg")]
    listing = Listing(Kind.ZIP, "https://library.example/ms.zip", "ms", "", pages)
    folder.manifest.unlink()
    write_atomic(folder.listing, listing.format())
    document = load_result(folder)
    assert document.source == ""
    assert document.pages[0].image_url == f"{ADDRESS}/pages/1.jpg"
    assert document.pages[0].image is None


@pytest.mark.parametrize(
    "selector",
    [
        {"type": "ImageApiSelector", "region": "500,0,500,800"},
        {"type": "ImageApiSelector", "rotation": "90"},
        {"type": "FragmentSelector", "value": "xywh=500,0,500,800"},
    ],
)
def test_a_canvas_that_shows_a_part_of_an_image_becomes_one_of_the_job(folder: JobFolder, selector: object) -> None:
    canvas = build_canvas(1, 500, 800)
    painting = canvas["items"][0]["items"][0]
    painting["body"] = {"type": "SpecificResource", "source": painting["body"], "selector": selector}
    save_result(folder, PAGES[:1], {"type": "Manifest", "items": [canvas]})
    (page,) = load_result(folder).pages
    assert (page.canvas_url, page.canvas_size) == (f"{ADDRESS}/canvas/1", (1000, 800))
    assert page.scale_to_canvas(WOODCUT) == (100, 200, 300, 400)


def test_a_selector_of_a_whole_image_keeps_the_canvas(folder: JobFolder) -> None:
    canvas = build_canvas(1, 500, 400)
    painting = canvas["items"][0]["items"][0]
    whole = {"type": "ImageApiSelector", "region": "full", "size": "500,"}
    painting["body"] = {"type": "SpecificResource", "source": painting["body"], "selector": whole}
    save_result(folder, PAGES[:1], {"type": "Manifest", "items": [canvas]})
    (page,) = load_result(folder).pages
    assert page.canvas_url == f"{BASE}/canvas/1"


@pytest.mark.parametrize(("request_", "is_part"), [("full/600,/0", False), ("500,0,500,800/full/0", True)])
def test_the_exported_image_is_whole(folder: JobFolder, request_: str, is_part: bool) -> None:
    canvas = build_canvas(1, 500, 400)
    canvas["items"][0]["items"][0]["body"]["id"] = f"{BASE}/iiif/1/{request_}/default.jpg"
    save_result(folder, PAGES[:1], {"type": "Manifest", "items": [canvas]})
    (page,) = load_result(folder).pages
    assert (page.image_url, page.image_size) == (f"{BASE}/iiif/1/full/max/0/default.jpg", (1000, 800))
    assert page.canvas_url == (f"{ADDRESS}/canvas/1" if is_part else f"{BASE}/canvas/1")
