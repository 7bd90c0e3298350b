import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from app.detection.annotations import AnnotatedPage, PageStatus
from app.detection.detector import Detector, DetectorConfig
from app.errors import ClaimLost, FetchError
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest
from app.jobs import DetectionRequest
from app.pipelines.detection import DownloadPlan, detect, download, fetch_manifest
from app.pipelines.pages import Coverage, load_annotated, load_fetched
from app.storage import Storage
from tests.detection.networks import RectangleFinder
from tests.pipelines.conftest import BOXES, SIZES

PLAN = DownloadPlan(longest=640)


class Run:
    """A detection job in the making, stage by stage."""

    def __init__(self, root: Path, library: str, fetcher: Fetcher, job: str = "job", refresh: bool = False) -> None:
        self.storage = Storage(root)
        self.folder = self.storage.job(job)
        self.request = DetectionRequest(f"{library}/manifest.json", refresh=refresh)
        self.fetcher = fetcher
        self.network = RectangleFinder()
        self.detector = Detector(self.network, DetectorConfig(batch_size=2, device="cpu"))  # type: ignore[arg-type]
        self.reports: list[tuple[int, int, Coverage | None]] = []

    def report(self, done: int, total: int, coverage: Coverage | None) -> None:
        self.reports.append((done, total, coverage))

    def download(self, report: Callable[[int, int, Coverage | None], None] | None = None) -> Manifest:
        manifest = fetch_manifest(self.request, self.folder, self.fetcher, PLAN)
        images = self.storage.images(self.request.manifest_url)
        download(self.request, manifest, images, self.folder, self.fetcher, PLAN, report or self.report)
        return manifest

    def annotated(self) -> list[AnnotatedPage]:
        return load_annotated(self.folder, load_fetched(self.folder))

    def detect(self, report: Callable[[int, int, Coverage | None], None] | None = None) -> None:
        images = self.storage.images(self.request.manifest_url)
        detect(images, self.folder, self.detector, report or self.report)


@pytest.fixture
def run(tmp_path: Path, library: str, fetcher: Fetcher) -> Run:
    return Run(tmp_path / "data", library, fetcher)


def stop_after(done: int) -> Callable[[int, int, Coverage | None], None]:
    def report(so_far: int, total: int, coverage: Coverage | None) -> None:
        if so_far >= done:
            raise ClaimLost("killed here")

    return report


def test_boxes_are_in_pixels_of_the_full_size_image(run: Run) -> None:
    run.download()
    run.detect()
    for page, size, box in zip(run.annotated(), SIZES, BOXES, strict=True):
        assert (page.width, page.height) == size
        pixel = max(size) / 640  # of what was fetched
        if box is None:
            assert page.status is PageStatus.EMPTY
        else:
            x, y, w, h = page.boxes[0].xywh
            assert max(abs(a - b) for a, b in zip((x, y, x + w, y + h), box, strict=True)) <= pixel + 1


def test_the_annotation_file_has_a_line_for_every_canvas(run: Run) -> None:
    run.download()
    run.detect()
    heads = [line for line in run.folder.annotations.read_text().splitlines() if line.count(" ") == 1]
    assert heads == ["1 ms_0001.jpg", "2 ms_0002.jpg", "3 ms_0003.jpg", "4 ms_0004.jpg"]
    assert len(json.loads(run.folder.annotations_json.read_bytes())) == 4


def test_only_the_pixels_that_are_needed_are_fetched(run: Run) -> None:
    run.download()
    files = list(run.storage.images(run.request.manifest_url).glob("*.image"))
    assert len(files) == 4
    for path in files:
        with Image.open(path) as image:
            assert max(image.size) <= 641


def test_an_unreachable_page_is_named_and_shifts_nobody(run: Run, document: Path) -> None:
    (document / "ms_0002.jpg").write_bytes(b"<html>gone</html>")
    run.download()
    run.detect()
    assert [page.number for page in run.annotated()] == [1, 2, 3, 4]
    failed = run.annotated()[1]
    assert failed.status is PageStatus.FAILED
    assert "500" in failed.reason
    heads = [line for line in run.folder.annotations.read_text().splitlines() if line.count(" ") == 1]
    assert heads == ["1 ms_0001.jpg", "3 ms_0003.jpg", "4 ms_0004.jpg"]
    assert run.reports[-1][2] == Coverage(3, 0, ((2, failed.reason),))


def test_no_image_at_all_is_a_failure_with_the_reason(run: Run, document: Path) -> None:
    for path in document.iterdir():
        path.write_bytes(b"")
    with pytest.raises(FetchError, match="None of the 4 images"):
        run.download()


def test_an_interrupted_download_goes_on_where_it_stopped(run: Run, document: Path) -> None:
    with pytest.raises(ClaimLost):
        run.download(stop_after(2))
    fetched = {page.file for page in load_fetched(run.folder)}
    assert len(fetched) >= 1
    run.download()
    assert run.reports[0][0] == len(fetched)
    assert {page.number for page in load_fetched(run.folder)} == {1, 2, 3, 4}


def test_an_interrupted_detection_goes_on_at_the_next_page(run: Run) -> None:
    run.download()
    with pytest.raises(ClaimLost):
        run.detect(stop_after(2))
    seen = len(run.annotated())
    assert 0 < seen < 4
    run.network.shapes.clear()
    run.detect()
    assert sum(shape[0] for shape in run.network.shapes) == 4 - seen
    assert run.reports[-1][:2] == (4, 4)


def test_a_second_job_on_the_manifest_fetches_no_image_again(run: Run, document: Path, library: str) -> None:
    run.download()
    shutil.rmtree(document)
    again = Run(run.storage.root, library, run.fetcher, job="again")
    again.download()
    assert all(page.file for page in load_fetched(again.folder))


def test_refresh_fetches_every_image_anew_and_forgets_the_others(run: Run, library: str) -> None:
    run.download()
    cache = run.storage.images(run.request.manifest_url)
    before = {path.name: path.stat().st_ino for path in cache.iterdir()}
    (cache / "left_over.image").write_bytes(b"x")
    Run(run.storage.root, library, run.fetcher, job="again", refresh=True).download()
    after = {path.name: path.stat().st_ino for path in cache.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] != inode for name, inode in before.items())


def test_progress_is_reported_page_by_page(run: Run) -> None:
    run.download()
    run.reports.clear()
    run.detect()
    assert sorted({done for done, _, _ in run.reports}) == [0, 1, 2, 3, 4]
    assert {total for _, total, _ in run.reports} == {4}


def test_an_image_that_left_the_cache_is_a_failed_page(run: Run) -> None:
    run.download()
    first = load_fetched(run.folder)[0]
    (run.storage.images(run.request.manifest_url) / str(first.file)).unlink()
    run.detect()
    assert run.annotated()[0].status is PageStatus.FAILED
    assert run.reports[-1][2].detected == 2
