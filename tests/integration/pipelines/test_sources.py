"""Detection and similarity on zip files, PDFs, lists and folders."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.detection.annotations import PageStatus
from app.errors import LeaseLost
from app.iiif.fetch import Fetcher
from app.jobs.requests import DetectionRequest
from app.jobs.requests.crops import Crop
from app.pipelines.similarity.document_source import DocumentSource
from app.pipelines.similarity.documents import ImageList, ListedImage
from app.sources.documents import store_file, store_path
from app.sources.recognition import Limits
from app.storage import Storage
from tests.integration.pipelines.conftest import BOXES, SIZES
from tests.integration.pipelines.test_detection import Run, stop_after
from tests.support.library import Answer, Library, Scan, draw_image

FORMS = ("zip", "PDF", "folder", "list")


@pytest.fixture
def shelf(document: Path, tmp_path: Path) -> Iterator[tuple[Library, dict[str, Path]]]:
    """The pages of the document as files, and a server that has them."""
    pages = sorted(document.iterdir())
    places = {"folder": document, "zip": tmp_path / "ms.zip", "PDF": tmp_path / "ms.pdf", "list": tmp_path / "ms.json"}
    with zipfile.ZipFile(places["zip"], "w") as archive:
        for page in pages:
            archive.write(page, page.name)
    first, *others = [Image.open(io.BytesIO(page.read_bytes())) for page in pages]
    first.save(places["PDF"], save_all=True, append_images=others, quality=95)
    with Library().open() as library:
        urls = {page.name: library.answer(f"/{page.name}", Answer(body=page.read_bytes())) for page in pages}
        places["list"].write_text(json.dumps(urls))
        yield library, places


def store(run: Run, place: Path) -> None:
    """Store a file as the document of a job."""
    if place.is_dir():
        stored = store_path(place, run.folder)
    else:
        with place.open("rb") as file:
            stored = store_file(file, place.name, run.folder)
    run.request = replace(run.request, manifest_url="", file_name=stored.name, file_digest=stored.digest)


def check_boxes(run: Run) -> None:
    for page, size, box in zip(run.annotated(), SIZES, BOXES, strict=True):
        assert (page.width, page.height) == size
        found = [each.xywh for each in page.boxes]
        expected = [(box[0], box[1], box[2] - box[0], box[3] - box[1])] if box else []
        assert len(found) == len(expected)
        assert found == [pytest.approx(xywh, abs=8) for xywh in expected]


@pytest.mark.parametrize("form", FORMS)
def test_boxes_are_those_of_the_same_pages_over_iiif(
    tmp_path: Path, fetcher: Fetcher, shelf: tuple[Library, dict[str, Path]], form: str
) -> None:
    _, places = shelf
    run = Run(tmp_path / "data", "https://a.example", fetcher)
    store(run, places[form])
    manifest = run.download()
    run.detect()
    check_boxes(run)
    names = [f"ms_{number:04d}.jpg" for number in range(1, 5)]
    assert [page.image_name for page in run.annotated()] == names
    assert manifest.ref == ("document" if form == "folder" else "ms")


@pytest.mark.parametrize("form", ["zip", "PDF"])
def test_a_killed_download_goes_on_and_a_second_job_reads_nothing(
    tmp_path: Path, fetcher: Fetcher, shelf: tuple[Library, dict[str, Path]], form: str
) -> None:
    library, places = shelf
    url = library.answer(f"/{places[form].name}", Answer(body=places[form].read_bytes()))
    run = Run(tmp_path / "data", "https://a.example", fetcher)
    run.request = DetectionRequest(url)
    with pytest.raises(LeaseLost):
        run.download(stop_after(1))
    first = {path: path.stat().st_mtime_ns for path in run.storage.images(url).glob("*.image")}
    run.download()
    assert first.items() <= {path: path.stat().st_mtime_ns for path in run.storage.images(url).glob("*.image")}.items()
    other = Run(tmp_path / "data", "https://a.example", fetcher, job="other")
    other.request = run.request
    other.download()
    images = {path: path.stat().st_mtime_ns for path in run.storage.images(url).glob("*.image")}
    assert len(images) == 4
    run.detect()
    check_boxes(run)


def test_pages_that_cannot_be_read_are_failed_pages(tmp_path: Path, fetcher: Fetcher) -> None:
    with Library().open() as library:
        good = library.answer("/1.jpg", Answer(body=draw_image(300, 400)))
        urls = {"1.jpg": good, "2.jpg": f"{library.url}/absent.jpg", "3.jpg": "http://10.1.2.3/x.jpg", "4.jpg": "x"}
        run = Run(tmp_path / "data", "https://a.example", fetcher)
        run.request = DetectionRequest(library.answer("/list.json", Answer(body=urls)))
        run.download()
    run.detect()
    first, *failed = run.annotated()
    assert first.status is PageStatus.DETECTED
    assert {page.status for page in failed} == {PageStatus.FAILED}
    for page, reason in zip(failed, ("404", "private address 10.1.2.3", "not a web address"), strict=True):
        assert reason in page.reason


def open_source(storage: Storage, url: str, fetcher: Fetcher, crops: tuple[Crop, ...] = ()) -> DocumentSource:
    place = storage.job("comparison").document_folder(1)
    return DocumentSource(url, place, url, storage.images, fetcher, 40, crops=crops, limits=Limits(10**6))


def open_image(source: DocumentSource, image: ListedImage) -> Image.Image:
    return Image.open(io.BytesIO((source.cache.folder / source.fetch(image).file).read_bytes()))


def fetch_all(source: DocumentSource) -> tuple[ImageList, list[Image.Image]]:
    listing = source.list_images()
    images = [open_image(source, image) for image in listing.images]
    source.close()
    return listing, images


@pytest.mark.parametrize("form", ["zip", "PDF", "list"])
def test_the_pages_of_a_file_are_compared(
    tmp_path: Path, fetcher: Fetcher, shelf: tuple[Library, dict[str, Path]], form: str
) -> None:
    library, places = shelf
    url = library.answer("/document", Answer(body=places[form].read_bytes()))
    listing, images = fetch_all(open_source(Storage(tmp_path / "data"), url, fetcher))
    assert [image.size for image in images] == SIZES
    start = "document" if form == "PDF" else "ms"
    assert [image.name for image in listing.images] == [f"{start}_{number:04d}.jpg" for number in range(1, 5)]


def test_the_pages_of_a_manifest_are_compared_at_a_reduced_size(tmp_path: Path, fetcher: Fetcher) -> None:
    with Library().open() as library:
        url = library.offer_manifest([Scan(1200, 1600)] * 20)
        listing, images = fetch_all(open_source(Storage(tmp_path / "data"), url, fetcher))
        assert len(library.paths) < 30, "an info.json was fetched for each page"
    assert {image.size for image in images} == {(90, 120)}
    assert len(listing.images) == 20


def test_crops_are_cut_from_the_pages_of_a_file(
    tmp_path: Path, fetcher: Fetcher, shelf: tuple[Library, dict[str, Path]]
) -> None:
    library, places = shelf
    url = library.answer("/ms.zip", Answer(body=places["zip"].read_bytes()))
    crops = (
        Crop(xywh=(300, 400, 600, 1200), image_name="ms_0001"),
        Crop(xywh=(100, 100, 1800, 600), canvas_number=3, name="ornament"),
        Crop(xywh=(800, 1100, 500, 500), image_name="ms_0004.jpg"),
        Crop(xywh=(5000, 0, 10, 10), canvas_number=1),
        Crop(xywh=(0, 0, 10, 10), canvas_number=9),
    )
    source = open_source(Storage(tmp_path / "data"), url, fetcher, crops)
    listing = source.list_images()
    assert [image.name for image in listing.images] == [
        "ms_0001_300,400,600,1200",
        "ornament",
        "ms_0004_800,1100,500,500",
        "ms_0001_5000,0,10,10",
    ]
    assert listing.failed == (("canvas 9_0,0,10,10", "The document has no canvas 9."),)
    assert [open_image(source, image).size for image in listing.images[:3]] == [(600, 1200), (1800, 600), (100, 100)]
    with pytest.raises(Exception, match="lies outside of its image, which has 1800 x 2400 pixels"):
        source.fetch(listing.images[3])
    source.close()


def test_crops_of_a_manifest_are_regions_of_the_image_service(tmp_path: Path, fetcher: Fetcher) -> None:
    with Library().open() as library:
        url = library.offer_manifest([Scan(1200, 1600, regions=True)])
        crops = (Crop(xywh=(300, 400, 600, 800), canvas_number=1),)
        listing, (image,) = fetch_all(open_source(Storage(tmp_path / "data"), url, fetcher, crops))
        assert [path for path in library.paths if "/300,400,600,800/" in path]
    assert image.width * 4 == image.height * 3
    assert listing.images[0].xywh == (300, 400, 600, 800)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"type": "Collection", "items": [{"id": "https://a.example/1", "type": "Manifest"}]}, "is a collection"),
        (b"PK\x03\x04", "is not a zip file, or it is incomplete"),
    ],
)
def test_a_document_without_pages_is_an_error(tmp_path: Path, fetcher: Fetcher, body: Any, reason: str) -> None:
    with Library().open() as library:
        url = library.answer("/document", Answer(body=body))
        with pytest.raises(Exception, match=reason):
            open_source(Storage(tmp_path / "data"), url, fetcher).list_images()


def test_crops_of_a_replaced_file_are_cut_from_its_new_pages(tmp_path: Path, fetcher: Fetcher) -> None:
    storage, crops, colours = Storage(tmp_path / "data"), (Crop(xywh=(0, 0, 80, 80), canvas_number=1),), ("red", "blue")
    with Library().open() as library:
        for colour in colours:
            page, file = io.BytesIO(), io.BytesIO()
            Image.new("RGB", (200, 200), colour).save(page, "PNG")
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("1.png", page.getvalue())
            url = library.answer("/ms.zip", Answer(body=file.getvalue()))
            storage.job("comparison").remove()  # another job with the same document
            _, (crop,) = fetch_all(open_source(storage, url, fetcher, crops))
            assert crop.getpixel((40, 40)) == Image.new("RGB", (1, 1), colour).getpixel((0, 0))
