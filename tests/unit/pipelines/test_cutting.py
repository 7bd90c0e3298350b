from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.detection.boxes import Detections
from app.jobs.requests import DetectionRequest
from app.pipelines.detection.cutting import PageCutter
from app.pipelines.detection.pages import FetchedPage

REQUEST = DetectionRequest("https://library.example/manifest.json")
AUTO = DetectionRequest("https://library.example/manifest.json", tiles="auto")


def build_page(number: int, width: int, height: int) -> FetchedPage:
    return FetchedPage(number, "", "", f"{number}.png", width, height)


def split(*sizes: tuple[int, int]) -> list[list[int]]:
    pages = [build_page(number, *size) for number, size in enumerate(sizes, 1)]
    batches = [pages[start : start + 8] for start in range(0, len(pages), 8)]
    return [[page.number for page in batch] for batch in PageCutter(REQUEST, 640).split(batches, 8)]


def test_batches_of_ordinary_pages_are_not_split() -> None:
    assert split(*[(1200, 1600)] * 11) == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11]]


def test_a_page_with_some_parts_fills_a_batch_with_other_pages() -> None:
    assert split(*[(1000, 3000)] * 8) == [[1, 2, 3, 4, 5, 6, 7, 8]]  # 4 parts each


def test_pages_with_many_parts_get_batches_of_their_own() -> None:
    scroll, page = (1500, 45000), (1200, 1600)
    assert split(page, scroll, page, page, scroll, page) == [[1, 2], [3, 4, 5], [6]]


def test_an_ordinary_page_reaches_the_detector_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (160, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    for request in (REQUEST, AUTO):
        page = PageCutter(request, 640).load(tmp_path, build_page(1, 1200, 1600))
        (part,) = page.parts
        assert np.array_equal(part.pixels, pixels)
        found = Detections.from_rows(np.array([[1, 2, 3, 4, 0.5, 0]], dtype=np.float32))
        assert page.merge([found], 0.45) is found


@pytest.mark.parametrize(("request_", "count"), [(REQUEST, 1), (AUTO, 5 * 6 + 1)])
def test_a_sheet_is_cut_and_seen_as_a_whole(tmp_path: Path, request_: DetectionRequest, count: int) -> None:
    Image.new("RGB", (2600, 3467)).save(tmp_path / "1.png")
    page = PageCutter(request_, 640).load(tmp_path, build_page(1, 6000, 8000))
    assert len(page.parts) == count
    assert page.parts[-1].box == (0, 0, 2600, 3467)
    assert max(page.parts[-1].pixels.shape) == (640 if count > 1 else 3467)


def test_a_page_without_its_image_has_no_parts(tmp_path: Path) -> None:
    page = PageCutter(REQUEST, 640).load(tmp_path, build_page(1, 1500, 45000))
    assert (page.parts, page.merge([], 0.45)) == ((), None)
