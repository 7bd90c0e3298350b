"""Pages that are cut into parts: what is requested, what is found, and how jobs resume."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Response, abort
from PIL import Image, ImageDraw

from app.config import ROOT
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.annotations import PageStatus
from app.detection.detector import DetectorConfig
from app.detection.loading import load_detector
from app.detection.parts import choose_side
from app.detection.weights import Weights
from app.errors import LeaseLost
from app.iiif.fetch import Fetcher
from app.pipelines.detection.pages import load_fetched
from app.pipelines.detection.work import DownloadPlan
from tests.integration.pipelines.test_detection import PLAN, Run, stop_after

SAMPLE = ROOT / "iiif" / "sample"
Corners = tuple[float, float, float, float]


def draw_page(path: Path, size: tuple[int, int], boxes: list[Corners]) -> None:
    page = Image.new("RGB", size, "white")
    for left, top, right, bottom in boxes:
        ImageDraw.Draw(page).rectangle((left, top, right - 1, bottom - 1), fill="black")
    page.save(path, quality=90)


@contextmanager
def serve_folder(folder: Path, largest: int | None = None, info: dict[str, Any] | None = None) -> Iterator[list[str]]:
    """Serve a folder, optionally with a limit of the longer side, and with more members of ``info.json``.

    Yields:
        The URL of the server, followed by the requests for images.
    """
    library = create_iiif_server(folder)
    views: dict[str, Any] = library.view_functions
    send_image, send_info, asked = views["image"], views["info"], [""]

    def image(name: str, region: str, size: str) -> Response:
        if not size.endswith("64,"):  # a strip that measures the first image of a server
            asked.append(f"{region}/{size}")
        response: Response = send_image(name, region, size)
        with Image.open(io.BytesIO(response.data)) as picture:
            if largest and max(picture.size) > largest:
                abort(403)
        return response

    def send_more_info(name: str) -> Any:
        return send_info(name).json | (info or {})

    views["image"], views["info"] = image, send_more_info
    with serve(library) as asked[0]:
        yield asked


def check_boxes(run: Run, number: int, boxes: list[Corners], tolerance: float) -> None:
    page = run.annotated()[number - 1]
    found = sorted(((x, y, x + w, y + h) for x, y, w, h in (box.xywh for box in page.boxes)), key=sum)
    np.testing.assert_allclose(found, sorted(boxes, key=sum), atol=tolerance)


def measure(run: Run, number: int = 1) -> tuple[int, int]:
    """Return the (width, height) of the cached image of a page."""
    page = load_fetched(run.folder)[number - 1]
    with Image.open(run.storage.images(run.request.manifest_url) / str(page.file)) as image:
        return image.size


# A scroll and a panorama; no part shows two of their rectangles.
TALL = [(100.0, y, 400.0, y + 250.0) for y in (30.0, 2000.0, 4100.0, 6200.0, 8700.0)]
WIDE = [(top, left, bottom, right) for left, top, right, bottom in TALL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "scrolls"
    folder.mkdir()
    draw_page(folder / "a.jpg", (600, 9000), TALL)
    draw_page(folder / "b.jpg", (9000, 600), WIDE)
    draw_page(folder / "c.jpg", (600, 800), [(100, 100, 500, 700)])
    return folder


def test_a_long_page_is_detected_in_parts_in_both_directions(tmp_path: Path, folder: Path, fetcher: Fetcher) -> None:
    with serve_folder(folder) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.download()
        assert len(asked) == 4  # one request for each page
    assert min(measure(run, 1)) == min(measure(run, 2)) == pytest.approx(512, abs=32)
    run.detect()
    check_boxes(run, 1, TALL, 3)
    check_boxes(run, 2, WIDE, 3)
    check_boxes(run, 3, [(100, 100, 500, 700)], 3)
    assert max(shape[0] for shape in run.network.shapes) == 2  # the batch size
    assert run.reports[-1][:2] == (3, 3)


def test_a_job_resumes_after_the_last_complete_page(tmp_path: Path, folder: Path, fetcher: Fetcher) -> None:
    with serve_folder(folder) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.download()
    with pytest.raises(LeaseLost):
        run.detect(stop_after(1))
    assert [page.number for page in run.annotated()] == [1]
    run.network.shapes.clear()
    run.detect()
    check_boxes(run, 1, TALL, 3)
    check_boxes(run, 2, WIDE, 3)
    assert {max(shape[2:]) for shape in run.network.shapes} == {640}
    assert [page.status for page in run.annotated()] == [PageStatus.DETECTED] * 3


def test_a_cached_image_that_is_too_small_for_its_parts_is_fetched_again(
    tmp_path: Path, folder: Path, fetcher: Fetcher
) -> None:
    with serve_folder(folder) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.download()
        cache, page = run.storage.images(run.request.manifest_url), load_fetched(run.folder)[0]
        record = cache / str(page.file).replace(".image", ".json")
        record.write_text(json.dumps({"file": page.file, "width": 600, "height": 9000}))  # as before parts existed
        Image.new("RGB", (43, 640)).save(cache / str(page.file), "JPEG")
        del asked[1:]
        again = Run(tmp_path / "data", asked[0], fetcher, job="again")
        again.download()
        assert len(asked) == 2
        again.detect()
    check_boxes(again, 1, TALL, 3)


@pytest.mark.parametrize(
    ("largest", "info", "most"),
    [(2000, {}, 18), (2000, {"maxArea": 500_000}, 26), (800, {"maxWidth": 800}, 26), (300, {"maxWidth": 300}, 160)],
)
def test_a_long_image_is_fetched_in_regions_if_the_server_limits_its_size(
    tmp_path: Path, folder: Path, fetcher: Fetcher, largest: int, info: dict[str, Any], most: int
) -> None:
    with serve_folder(folder, largest, info) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.download()
        assert 5 <= sum(not each.startswith("full") for each in asked[1:]) <= most
    assert min(measure(run)) == pytest.approx(512, abs=32)
    run.detect()
    check_boxes(run, 1, TALL, 5)
    check_boxes(run, 2, WIDE, 5)


@pytest.mark.parametrize(("largest", "is_failed"), [(960, False), (700, True)])
def test_a_server_that_refuses_regions_gives_a_reduced_or_a_failed_page(
    tmp_path: Path, folder: Path, fetcher: Fetcher, largest: int, is_failed: bool
) -> None:
    with serve_folder(folder, largest) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.download(plan=DownloadPlan(largest))
    run.detect()
    assert [page.status is PageStatus.FAILED for page in run.annotated()] == [is_failed, is_failed, False]
    assert not is_failed or "returns only 46 x 690 of 600 x 9000 pixels" in run.annotated()[0].reason


@pytest.mark.parametrize("image_size", ["full", "1000"])
def test_the_requested_size_is_that_of_each_part(
    tmp_path: Path, folder: Path, fetcher: Fetcher, image_size: str
) -> None:
    with serve_folder(folder) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.request = replace(run.request, image_size=image_size)
        run.download(plan=DownloadPlan(run.request.choose_longest(640)))
    assert measure(run) == (600, 9000)
    run.detect()
    check_boxes(run, 1, TALL, 3)


# Small drawings on a large sheet.
SHEET = [(2000.0, 1800.0, 2160.0, 1960.0), (6700.0, 300.0, 6850.0, 440.0), (100.0, 5200.0, 280.0, 5380.0)]


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheets")
    draw_page(folder / "a.jpg", (7000, 5600), SHEET)
    draw_page(folder / "b.jpg", (1200, 1600), [(300, 300, 900, 900)])
    return folder


@pytest.mark.parametrize(("tiles", "longest"), [("", 640), ("off", 640), ("auto", 2333)])
def test_a_large_sheet_is_cut_on_request_only(
    tmp_path: Path, sheets: Path, fetcher: Fetcher, tiles: str, longest: int
) -> None:
    with serve_folder(sheets) as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.request = replace(run.request, tiles=tiles)
        run.download(plan=replace(PLAN, side=choose_side(tiles, 640)))
        assert len(asked) == 3
    assert max(measure(run)) == pytest.approx(longest, rel=0.25)
    assert max(measure(run, 2)) == 640
    run.detect()
    assert sum(shape[0] for shape in run.network.shapes) == (5 * 4 + 2 if tiles == "auto" else 2)
    check_boxes(run, 2, [(300, 300, 900, 900)], 4)
    found = [(x, y, x + w, y + h) for x, y, w, h in (box.xywh for box in run.annotated()[0].boxes)]
    seen = [any(np.allclose(box, each, atol=8) for each in found) for box in SHEET]
    assert seen == [tiles == "auto"] * 3


def test_every_illustration_of_a_real_scroll_is_found_once(tmp_path: Path, fetcher: Fetcher) -> None:
    truth = json.loads((SAMPLE / "truth.json").read_text())
    (tmp_path / "scrolls").mkdir()
    scroll, boxes, top = Image.new("RGB", (700, 9 * 972)), [], 0
    for name in [*sorted(truth), *sorted(truth), "page_0001.jpg"]:
        with Image.open(SAMPLE / name) as page:
            factor = 700 / page.width
            scroll.paste(page.convert("RGB").resize((700, round(page.height * factor))), (0, top))
        boxes += [
            (x * factor, y * factor + top, (x + w) * factor, (y + h) * factor + top) for x, y, w, h in truth[name]
        ]
        top += 972
    scroll.save(tmp_path / "scrolls" / "a.jpg", quality=90)
    with serve_folder(tmp_path / "scrolls") as asked:
        run = Run(tmp_path / "data", asked[0], fetcher)
        run.download(plan=DownloadPlan(800))
    weights = Weights.at(ROOT / "models" / "illustrations.pt")
    run.detector = load_detector(weights, DetectorConfig(device="cpu"))
    run.detect()
    check_boxes(run, 1, boxes, 40)
