"""Images of lists at a sufficient size, and illustrations from image services or cropped from pages."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.errors import FetchError
from app.exports.annotation_files import describe_pages
from app.iiif.fetch import Fetcher
from app.pipelines.image_cache import CachedImage, ImageCache
from app.pipelines.similarity.document_source import DocumentSource
from app.pipelines.similarity.documents import ListedImage
from app.pipelines.similarity.image_sources import DetectionSource, find_full_size
from app.storage import Storage, write_atomic
from tests.support.comparing import draw
from tests.support.library import Answer, Library, Scan, build_manifest_3, draw_image
from tests.unit.images.test_orientation import draw_page, save_tagged

SHORTEST = 40
BOX = (300, 400, 600, 800)


class Shelf:
    """Image sources that share a library and a storage folder."""

    def __init__(self, root: Path, library: Library, fetcher: Fetcher) -> None:
        self.storage = Storage(root)
        self.library = library
        self.fetcher = fetcher

    def open_cache(self, name: str, longest: int | None = 3 * SHORTEST) -> ImageCache:
        return ImageCache(self.storage.images(name), self.fetcher, longest)

    def list_source(self) -> DocumentSource:
        url = f"{self.library.url}/list.json"
        place = self.storage.job("comparison").document_folder(1)
        return DocumentSource(url, place, url, self.storage.images, self.fetcher, SHORTEST, max_images=100)

    def detect(self, scans: Sequence[Scan], canvases: list[dict[str, Any]] | None = None) -> DetectionSource:
        """Return the source of a detection job that found BOX on each page, or the given canvases."""
        manifest_url = self.library.offer_manifest(list(scans))
        folder = self.storage.job("detection")
        write_atomic(folder.manifest, json.dumps(build_manifest_3(self.library.url, list(scans))).encode())
        found = canvases or [build_canvas(number) for number in range(1, len(scans) + 1)]
        write_atomic(folder.annotations_json, json.dumps(found).encode())
        caches = self.open_cache("illustrations"), self.open_cache(manifest_url, 800)
        return DetectionSource(folder, manifest_url, *caches, self.fetcher, SHORTEST, max_images=100)


def build_canvas(number: int, *boxes: Sequence[int], name: str = "", status: str = "detected") -> dict[str, Any]:
    found = [BoxRecord((x, y, w, h), 0.9, 0, "illustration") for x, y, w, h in boxes or (BOX,)]
    page = AnnotatedPage(number, "", name or f"p{number}.jpg", None, None, PageStatus(status), tuple(found))
    return describe_pages([page])[0]


@pytest.fixture
def shelf(tmp_path: Path, library: Library, fetcher: Fetcher) -> Shelf:
    return Shelf(tmp_path / "data", library, fetcher)


@pytest.fixture
def library(open_library: Library) -> Library:
    open_library.forget()
    return open_library


def fetch(source: DocumentSource | DetectionSource, image: ListedImage) -> Image.Image:
    return Image.open(io.BytesIO((source.cache.folder / source.fetch(image).file).read_bytes()))


@pytest.mark.parametrize("word", ["full", "max"])
def test_a_region_is_requested_at_a_sufficient_size(shelf: Shelf, word: str) -> None:
    start = "/iiif/2/ms/300,400,600,800"
    shelf.library.answer(f"{start}/40,/0/default.jpg", Answer(body=draw_image(40, 54)))
    url = f"{shelf.library.url}{start}/{word}/0/default.jpg"
    assert fetch(shelf.list_source(), ListedImage("x", url)).size == (40, 54)
    assert shelf.library.paths == [f"{start}/40,/0/default.jpg"]


@pytest.mark.parametrize("refusal", [400, 403, 404, 501])
def test_the_full_region_replaces_a_refused_reduced_region(shelf: Shelf, refusal: int) -> None:
    start = "/iiif/2/ms/300,400,600,800"
    for size in ("40,", "40,54"):
        shelf.library.answer(f"{start}/{size}/0/default.jpg", Answer(refusal))
    url = shelf.library.answer(f"{start}/full/0/default.jpg", Answer(body=draw_image(600, 800)))
    source = shelf.list_source()
    for _ in range(2):
        assert fetch(source, ListedImage("x", url)).size == (600, 800)
    assert len(shelf.library.paths) == 3


def test_a_whole_image_of_a_service_is_requested_at_a_reduced_size(shelf: Shelf) -> None:
    base = shelf.library.offer(Scan(1200, 1600))
    image = fetch(shelf.list_source(), ListedImage("x", f"{base}/full/full/0/default.jpg"))
    assert image.size == (90, 120)


@pytest.mark.parametrize(
    "path", ["/picture.png", "/iiif/9/full/300,/0/default.jpg", "/iiif/9/pct:1,2,3,4/full/0/default.jpg"]
)
def test_any_other_url_is_requested_unchanged(shelf: Shelf, path: str) -> None:
    url = shelf.library.answer(path, Answer(body=draw(1)))
    assert fetch(shelf.list_source(), ListedImage("x", url)).size == (60, 60)
    assert shelf.library.paths == [path]


def test_an_image_is_fetched_once_for_all_jobs(shelf: Shelf) -> None:
    url = shelf.library.answer("/1.png", Answer(body=draw(1)))
    for _ in range(2):
        shelf.list_source().fetch(ListedImage("x", url))
    assert shelf.library.paths == ["/1.png"]


def test_illustrations_are_regions_of_the_image_service(shelf: Shelf) -> None:
    source = shelf.detect([Scan(version=2), Scan(version=3)])
    listing = source.list_images()
    base = shelf.library.url
    assert [(image.name, image.url) for image in listing.images] == [
        ("p1_300,400,600,800", f"{base}/iiif/1/300,400,600,800/full/0/default.jpg"),
        ("p2_300,400,600,800", f"{base}/iiif/2/300,400,600,800/max/0/default.jpg"),
    ]
    reduced = "/iiif/1/300,400,600,800/40,/0/default.jpg"
    shelf.library.answer(reduced, Answer(body=draw_image(40, 54)))
    assert fetch(source, listing.images[0]).size == (40, 54)
    assert shelf.library.paths == [reduced]


@pytest.mark.parametrize("scan", [Scan(level=0, sizes=((600, 800),)), Scan(level=1)])
def test_illustrations_are_cropped_if_the_service_has_no_regions(shelf: Shelf, scan: Scan) -> None:
    source = shelf.detect([scan])
    (image,) = source.list_images().images
    # The page shows a black rectangle from a quarter to three quarters, which is the detected box.
    cut = fetch(source, image)
    assert cut.format == "PNG"
    assert cut.size[0] * 4 == pytest.approx(cut.size[1] * 3, abs=4)
    assert cut.convert("L").getextrema()[1] < 60, "the crop shows more than the rectangle"
    expected = f"{shelf.library.url}/iiif/1/full/max/0/default.jpg#xywh=300,400,600,800"
    if scan.level == 0:
        assert image.url.partition("#")[2] == expected.partition("#")[2]


def test_a_service_without_regions_is_asked_for_one_only_once(shelf: Shelf) -> None:
    source = shelf.detect([Scan(level=1)])
    (image,) = source.list_images().images
    source.fetch(image)
    asked = list(shelf.library.paths)
    source.fetch(image)
    assert shelf.library.paths == asked


def test_a_server_without_regions_is_not_asked_for_each_illustration(shelf: Shelf) -> None:
    boxes = [(number, number, 600, 800) for number in range(20)]
    source = shelf.detect([Scan()], [build_canvas(1, *boxes)])
    for image in source.list_images().images:
        assert fetch(source, image).format == "PNG"
    asked = {path.split("/")[3] for path in shelf.library.refused}
    assert len(asked) == 3


def test_the_quality_of_regions_is_found(shelf: Shelf) -> None:
    """Version 2 replaced ``native`` by ``default``: http://iiif.io/api/image/2.0/change-log.html"""
    base = shelf.library.offer(Scan(names=("native.jpg",), regions=True))
    source = shelf.list_source()
    for number in range(10):
        assert fetch(source, ListedImage("x", f"{base}/{number},0,40,60/full/0/default.jpg")).size == (40, 60)
    assert len(shelf.library.refused) == 1


def test_a_page_is_fetched_once_for_its_illustrations(shelf: Shelf) -> None:
    boxes = [(300, 400, 100, 100), (500, 400, 100, 100)]
    source = shelf.detect([Scan(level=0, sizes=((600, 800),))], [build_canvas(1, *boxes)])
    for image in source.list_images().images:
        source.fetch(image)
    assert len([path for path in shelf.library.paths if path.endswith(".jpg")]) == 1


def test_a_box_at_the_edge_of_a_reduced_page_has_a_pixel(shelf: Shelf) -> None:
    source = shelf.detect([Scan(level=0, sizes=((600, 800),))], [build_canvas(1, (1199, 1599, 1, 1), (0, 0, 1, 1))])
    for image in source.list_images().images:
        assert min(fetch(source, image).size) == 1


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_an_illustration_is_cropped_from_the_upright_page(shelf: Shelf, orientation: int) -> None:
    page = Image.new("RGB", (120, 160), "white")
    page.paste((200, 0, 0), (20, 100, 60, 150))
    source = shelf.detect([Scan(level=0)], [build_canvas(1, (20, 100, 40, 50))])
    url = shelf.library.answer("/p1.png", Answer(body=save_tagged(page, orientation, "PNG")))
    manifest = {"sequences": [{"canvases": [{"images": [{"resource": {"@id": url, "@type": "dctypes:Image"}}]}]}]}
    write_atomic(shelf.storage.job("detection").manifest, json.dumps(manifest).encode())
    (image,) = source.list_images().images
    crop = fetch(source, image)
    assert crop.size == (40, 50)
    assert crop.getcolors() == [(40 * 50, (200, 0, 0))]


def test_regions_of_a_service_that_states_a_turned_size_are_not_requested(shelf: Shelf) -> None:
    scan = Scan(400, 300, level=1)
    source = shelf.detect([scan], [build_canvas(1, (20, 300, 100, 50)) | {"width": 300, "height": 400}])
    page = Image.new("RGB", (300, 400), "white")
    page.paste((200, 0, 0), (20, 300, 120, 350))
    shelf.library.answer("/iiif/1/full/full/0/default.jpg", Answer(body=save_tagged(page, 6, "PNG")))
    (image,) = source.list_images().images
    crop = fetch(source, image)
    assert crop.size == (100, 50)
    assert crop.getcolors() == [(100 * 50, (200, 0, 0))]
    assert not any("/20,300,100,50/" in path for path in shelf.library.paths)


def test_a_tagged_region_is_replaced_by_a_crop_of_the_upright_page(shelf: Shelf) -> None:
    source = shelf.detect([Scan(60, 90, level=1)], [build_canvas(1, (4, 45, 11, 37))])
    region = Answer(body=save_tagged(Image.new("RGB", (11, 37)), 3, "PNG"))
    for size in ("max", "full"):
        shelf.library.answer(f"/iiif/1/4,45,11,37/{size}/0/default.jpg", region)
        shelf.library.answer(f"/iiif/1/full/{size}/0/default.jpg", Answer(body=save_tagged(draw_page(), 3, "PNG")))
    (image,) = source.list_images().images
    assert fetch(source, image).getcolors() == [(11 * 37, (200, 30, 30))]


def test_an_illustration_is_not_cropped_if_the_service_is_down(shelf: Shelf) -> None:
    source = shelf.detect([Scan()])
    (image,) = source.list_images().images
    for size in ("40,", "40,54", "max", "full"):
        shelf.library.answer(f"/iiif/1/300,400,600,800/{size}/0/default.jpg", Answer(503))
    with pytest.raises(FetchError, match="503"):
        source.fetch(image)


def test_pages_without_a_detection_are_failed_entries(shelf: Shelf) -> None:
    failed = build_canvas(2, status="failed") | {"reason": "It answered 404.", "detections": []}
    source = shelf.detect([Scan(), Scan()], [build_canvas(1), failed])
    listing = source.list_images()
    assert len(listing.images) == 1
    assert listing.failed == (("p2.jpg", "Detection failed on canvas 2: It answered 404."),)


def test_illustrations_with_the_same_name_are_reported(shelf: Shelf) -> None:
    source = shelf.detect([Scan(), Scan()], [build_canvas(1, name="same.jpg"), build_canvas(2, name="same.jpg")])
    listing = source.list_images()
    assert [image.name for image in listing.images] == ["same_300,400,600,800"]
    assert [name for name, _ in listing.failed] == ["same_300,400,600,800"]


def test_a_detection_job_without_illustrations_is_an_error(shelf: Shelf) -> None:
    source = shelf.detect([Scan()], [build_canvas(1) | {"status": "empty", "detections": []}])
    assert "has no images" in source.list_images().error


def test_a_detection_job_without_files_is_an_error(shelf: Shelf) -> None:
    source = shelf.detect([Scan()])
    shelf.storage.job("detection").annotations_json.unlink()
    assert "detect them again" in source.list_images().error


def test_urls_of_a_list_are_requested_as_those_of_a_manifest(shelf: Shelf) -> None:
    published = ["a b.png", "é[1].png", "100%.png", "a%2fb%2520.png", "c\\d.png", "e\u200bf.png"]
    encoded = ["a%20b.png", "%C3%A9%5B1%5D.png", "100%25.png", "a%2fb%2520.png", "c%5Cd.png", "e%E2%80%8Bf.png"]
    for path in encoded:
        shelf.library.answer(f"/{path}", Answer(body=draw(1)))
    urls = {str(number): f" {shelf.library.url}/{path}" for number, path in enumerate(published)}
    shelf.library.answer("/list.json", Answer(body=urls))
    source = shelf.list_source()
    listed = source.list_images()
    assert listed.failed == ()
    for image in listed.images:
        source.fetch(image)
    assert shelf.library.paths == ["/list.json", *(f"/{path}" for path in encoded)]


@pytest.mark.parametrize(
    ("url", "xywh", "size"),
    [
        ("https://a.example/iiif/1/5,6,300,400/full/0/default.jpg", (), (300, 400)),
        ("https://a.example/iiif/1/5,6,300,400/max/90/default.jpg", (), (400, 300)),
        ("https://a.example/iiif/1/5,6,300,400/max/180/default.jpg", (), (300, 400)),
        ("https://a.example/iiif/1/full/full/0/default.jpg", (), (90, 80)),
        ("https://a.example/1.png#xywh=5,6,700,800", (5, 6, 700, 800), (700, 800)),
    ],
)
def test_the_full_size_of_a_region_is_that_of_its_box(url: str, xywh: tuple[int, ...], size: tuple[int, int]) -> None:
    assert find_full_size(ListedImage("1", url, 1, xywh), CachedImage("1.image", 90, 80)) == size
