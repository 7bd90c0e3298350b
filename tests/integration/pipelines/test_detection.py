import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.annotations import AnnotatedPage, PageStatus
from app.detection.detector import Detector, DetectorConfig
from app.errors import FetchError, LeaseLost
from app.iiif.fetch import Fetcher
from app.iiif.host_limits import HostLimits
from app.iiif.hosts import HostRule, HostRules
from app.iiif.manifest import Manifest
from app.jobs.requests import DetectionRequest
from app.net.addresses import AddressGuard
from app.pipelines.detection import ahead
from app.pipelines.detection.pages import Coverage, discard_stale_detections, load_annotated, load_fetched, save_fetched
from app.pipelines.detection.work import DownloadPlan, detect, download, fetch_manifest
from app.storage import Storage
from tests.integration.pipelines.conftest import BOXES, SIZES, build_fetcher
from tests.support.library import Answer, Library, Scan, build_manifest_3
from tests.support.rectangle_finder import EdgeFinder, RectangleFinder
from tests.unit.images.test_orientation import STORED, save_tagged

PLAN = DownloadPlan(longest=640)


class Run:
    """A detection job that runs step by step."""

    def __init__(self, root: Path, library: str, fetcher: Fetcher, job: str = "job", refresh: bool = False) -> None:
        self.storage = Storage(root)
        self.folder = self.storage.job(job)
        self.request = DetectionRequest(f"{library}/manifest.json", refresh=refresh)
        self.fetcher = fetcher
        self.network = RectangleFinder()
        self.detector = Detector(self.network, DetectorConfig(batch_size=2, device="cpu"))  # type: ignore[arg-type]
        self.reports: list[tuple[int, int, Coverage | None]] = []
        self.counted: Counter[PageStatus] = Counter()

    def report(self, done: int, total: int, coverage: Coverage | None) -> None:
        self.reports.append((done, total, coverage))

    def count(self, status: PageStatus, pages: int) -> None:
        self.counted[status] += pages

    def download(
        self, report: Callable[[int, int, Coverage | None], None] | None = None, plan: DownloadPlan = PLAN
    ) -> Manifest:
        manifest = fetch_manifest(self.request, self.folder, self.fetcher, plan)
        assert isinstance(manifest, Manifest)
        images = self.storage.images(self.request.origin)
        download(self.request, manifest, images, self.folder, self.fetcher, plan, report or self.report, self.count)
        return manifest

    def annotated(self) -> list[AnnotatedPage]:
        return load_annotated(self.folder, load_fetched(self.folder))

    def detect(self, report: Callable[[int, int, Coverage | None], None] | None = None) -> None:
        images = self.storage.images(self.request.origin)
        detect(self.request, images, self.folder, self.detector, report or self.report, self.count)


@pytest.fixture
def run(tmp_path: Path, library: str, fetcher: Fetcher) -> Run:
    return Run(tmp_path / "data", library, fetcher)


def stop_after(done: int) -> Callable[[int, int, Coverage | None], None]:
    def report(so_far: int, total: int, coverage: Coverage | None) -> None:
        if so_far >= done:
            raise LeaseLost("killed")

    return report


def test_boxes_are_in_pixels_of_the_full_size_image(run: Run) -> None:
    run.download()
    run.detect()
    for page, size, box in zip(run.annotated(), SIZES, BOXES, strict=True):
        assert (page.width, page.height) == size
        pixel = max(size) / 640  # size of a fetched pixel
        if box is None:
            assert page.status is PageStatus.EMPTY
        else:
            x, y, w, h = page.boxes[0].xywh
            assert max(abs(a - b) for a, b in zip((x, y, x + w, y + h), box, strict=True)) <= pixel + 1


@pytest.mark.parametrize("longest", [400, 640])
@pytest.mark.parametrize("size", [(1800, 2400), (1801, 2399), (3300, 4599), (2001, 1499)])
def test_an_exact_detector_gives_boxes_exact_to_a_pixel(
    tmp_path: Path, fetcher: Fetcher, size: tuple[int, int], longest: int
) -> None:
    width, height = size
    box = (width // 7 + 1, height // 5 + 2, width * 4 // 5 + 1, height * 6 // 7 + 1)
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="black")
    page.save(tmp_path / "ms_0001.jpg", quality=95)
    with serve(create_iiif_server(tmp_path)) as url:
        run = Run(tmp_path / "data", url, fetcher)
        run.detector = Detector(EdgeFinder(), DetectorConfig(size=longest, device="cpu"))  # type: ignore[arg-type]
        run.download(plan=DownloadPlan(longest))
    run.detect()
    x, y, w, h = run.annotated()[0].boxes[0].xywh
    assert max(abs(a - b) for a, b in zip((x, y, x + w, y + h), box, strict=True)) <= 1


@pytest.mark.parametrize("longest", [128, 640])
def test_boxes_on_tagged_pages_are_in_the_upright_page(tmp_path: Path, fetcher: Fetcher, longest: int) -> None:
    size, box = (1203, 1607), (150, 200, 700, 1500)
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="black")
    with Library().open() as library:
        canvases = []
        for orientation in STORED:
            url = library.answer(f"/p{orientation}.jpg", Answer(body=save_tagged(page, orientation)))
            resource = {"@id": url, "@type": "dctypes:Image"}
            canvases.append({"@id": f"{url}/canvas", "images": [{"resource": resource}]})
        library.answer("/manifest.json", Answer(body={"@id": "x", "sequences": [{"canvases": canvases}]}))
        run = Run(tmp_path / "data", library.url, fetcher)
        run.detector = Detector(EdgeFinder(), DetectorConfig(size=longest, device="cpu"))  # type: ignore[arg-type]
        run.download()
    run.detect()
    for annotated in run.annotated():
        assert (annotated.width, annotated.height) == size
        x, y, w, h = annotated.boxes[0].xywh
        assert max(abs(a - b) for a, b in zip((x, y, x + w, y + h), box, strict=True)) <= 1


def test_the_annotation_file_has_a_line_for_every_canvas(run: Run) -> None:
    run.download()
    run.detect()
    heads = [line for line in run.folder.annotations.read_text().splitlines() if line.count(" ") == 1]
    assert heads == ["1 ms_0001.jpg", "2 ms_0002.jpg", "3 ms_0003.jpg", "4 ms_0004.jpg"]
    assert len(json.loads(run.folder.annotations_json.read_bytes())) == 4


def test_images_are_fetched_at_the_required_size(run: Run) -> None:
    run.download()
    files = list(run.storage.images(run.request.manifest_url).glob("*.image"))
    assert len(files) == 4
    for path in files:
        with Image.open(path) as image:
            assert max(image.size) <= 641


def test_every_page_is_counted_once_despite_interruptions(run: Run, document: Path) -> None:
    (document / "ms_0003.jpg").write_bytes(b"<html>gone</html>")
    for stage in (run.download, run.detect):
        with pytest.raises(LeaseLost):
            stage(stop_after(2))
        stage()
    assert run.counted == {PageStatus.DETECTED: 2, PageStatus.EMPTY: 1, PageStatus.FAILED: 1}


def test_a_failed_page_is_named_and_others_keep_their_numbers(run: Run, document: Path) -> None:
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


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refused_page_among_many_is_named_with_the_status(tmp_path: Path, status: int) -> None:
    with Library().open() as shelf:
        run = Run(tmp_path / "data", shelf.url, build_fetcher())
        shelf.offer_manifest([Scan(30, 40)] * 40)
        shelf.offer(Scan(30, 40, info=False, forms=(), refusal=status), "17")
        run.download()
    run.detect()
    heads = [line for line in run.folder.annotations.read_text().splitlines() if line.count(" ") == 1]
    assert [int(head.split()[0]) for head in heads] == [number for number in range(1, 41) if number != 17]
    coverage = run.reports[-1][2]
    assert coverage is not None
    assert [number for number, _ in coverage.failed] == [17]
    assert f"answered {status}" in coverage.failed[0][1]


def test_a_download_without_any_image_fails_with_the_reason(run: Run, document: Path) -> None:
    for path in document.iterdir():
        path.write_bytes(b"")
    with pytest.raises(FetchError, match="None of the 4 images"):
        run.download()


def test_an_interrupted_download_resumes(run: Run, document: Path) -> None:
    with pytest.raises(LeaseLost):
        run.download(stop_after(2))
    images = run.storage.images(run.request.manifest_url)
    written = {path: path.stat().st_mtime_ns for path in (images / str(page.file) for page in load_fetched(run.folder))}
    assert written
    run.download()
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert {page.number for page in load_fetched(run.folder)} == {1, 2, 3, 4}


def test_an_interrupted_detection_resumes_at_the_next_page(run: Run) -> None:
    run.download()
    with pytest.raises(LeaseLost):
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


def test_refresh_fetches_every_image_again_and_evicts_the_others(run: Run, library: str) -> None:
    run.download()
    cache = run.storage.images(run.request.manifest_url)
    before = {path.name: path.stat().st_ino for path in cache.iterdir()}
    (cache / "left_over.image").write_bytes(b"x")
    Run(run.storage.root, library, run.fetcher, job="again", refresh=True).download()
    after = {path.name: path.stat().st_ino for path in cache.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] != inode for name, inode in before.items())


def test_refresh_evicts_images_of_its_manifest_only(run: Run, document: Path) -> None:
    run.download()
    with serve(create_iiif_server(document)) as elsewhere:
        other = Run(run.storage.root, elsewhere, run.fetcher, job="other")
        other.download()
        kept = {path: path.stat().st_ino for path in other.storage.images(other.request.manifest_url).iterdir()}
        Run(
            run.storage.root, run.request.manifest_url.removesuffix("/manifest.json"), run.fetcher, "new", True
        ).download()
    assert {path: path.stat().st_ino for path in other.storage.images(other.request.manifest_url).iterdir()} == kept


def test_progress_is_reported_batch_by_batch(run: Run) -> None:
    run.download()
    run.reports.clear()
    run.detect()
    assert sorted({done for done, _, _ in run.reports}) == [2, 4]
    assert {total for _, total, _ in run.reports} == {4}


def test_an_image_missing_from_the_cache_is_a_failed_page(run: Run) -> None:
    run.download()
    first = load_fetched(run.folder)[0]
    (run.storage.images(run.request.manifest_url) / str(first.file)).unlink()
    run.detect()
    first_page, *_ = json.loads(run.folder.annotations_json.read_bytes())
    assert (first_page["status"], "retry the job" in first_page["reason"]) == ("failed", True)
    assert run.reports[-1][2].detected == 2


def test_a_retry_fetches_and_detects_the_failed_canvases_only(run: Run, document: Path, library: str) -> None:
    page = (document / "ms_0002.jpg").read_bytes()
    (document / "ms_0002.jpg").write_bytes(b"<html>gone</html>")
    run.download()
    run.detect()
    (document / "ms_0002.jpg").write_bytes(page)
    for other in ("ms_0001.jpg", "ms_0003.jpg", "ms_0004.jpg"):
        (document / other).unlink()  # fetching one of them fails
    shutil.rmtree(run.storage.images(run.request.manifest_url))  # as after RETENTION_DAYS
    run.network.shapes.clear()
    run.download(plan=replace(PLAN, retries=1))
    run.detect()
    assert sum(shape[0] for shape in run.network.shapes) == 1
    assert [page.status for page in run.annotated()] == ["detected", "empty", "detected", "detected"]
    assert run.reports[-1] == (4, 4, Coverage(3, 1))
    assert "2 ms_0002.jpg" in run.folder.annotations.read_text()


def test_an_interrupted_retry_does_not_start_again(run: Run, document: Path) -> None:
    for number in (2, 3):
        (document / f"ms_000{number}.jpg").write_bytes(b"")
    run.download()
    again = replace(PLAN, retries=1)
    run.download(plan=again)
    run.reports.clear()
    run.download(plan=again)
    assert [report[:2] for report in run.reports] == [(4, 4)]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"half")])
def test_a_retry_fetches_a_missing_or_damaged_cached_image(run: Run, damage: Callable[[Path], object]) -> None:
    run.download()
    first = load_fetched(run.folder)[0]
    damage(run.storage.images(run.request.manifest_url) / str(first.file))
    run.detect()
    assert run.reports[-1][2].failed  # type: ignore[union-attr]
    run.download(plan=replace(PLAN, retries=1))
    run.detect()
    assert run.annotated()[0].status is PageStatus.DETECTED


@pytest.mark.parametrize(("image_size", "longest"), [("full", 2400), ("1200", 1200), ("", 640)])
def test_a_request_chooses_the_size_of_its_images(run: Run, image_size: str, longest: int) -> None:
    run.request = replace(run.request, image_size=image_size)
    run.download(plan=DownloadPlan(run.request.choose_longest(640)))
    with Image.open(run.storage.images(run.request.manifest_url) / str(load_fetched(run.folder)[0].file)) as image:
        assert max(image.size) == longest


def test_a_host_rule_caps_the_size_unless_the_request_sets_one(run: Run, document: Path) -> None:
    rules = HostRules(HostRule(4, 0, image_size=300))
    run.fetcher = Fetcher(run.fetcher.policy, HostLimits(rules), AddressGuard(frozenset({"127.0.0.1"})))
    for image_size, longest in (("", 300), ("640", 640)):
        run.request = replace(run.request, image_size=image_size)
        shutil.rmtree(run.folder.path, ignore_errors=True)
        run.download()
        with Image.open(run.storage.images(run.request.manifest_url) / str(load_fetched(run.folder)[0].file)) as image:
            assert max(image.size) == longest


def test_consecutive_failures_stop_the_download(tmp_path: Path) -> None:
    with Library().open() as shelf:
        scans = [Scan(60, 80) for _ in range(60)]
        run = Run(tmp_path / "data", shelf.url, build_fetcher())
        shelf.offer_manifest(scans)
        for number in range(3, 61):
            shelf.answer(f"/iiif/{number}/info.json", Answer(503))
            for size in ("full", "60,", "60,80"):
                shelf.answer(f"/iiif/{number}/full/{size}/0/default.jpg", Answer(503))
        run.download()
        asked = {path.split("/")[2] for path in shelf.paths if path.startswith("/iiif")}
    pages = load_fetched(run.folder)
    assert len(pages) == 60
    assert [page.file is None for page in pages] == [False] * 2 + [True] * 58
    assert "Not fetched, because 8 images in a row" in pages[-1].reason
    assert len(asked) <= 2 + 8 + 4 + 3  # those fetched until the last failure is known, and a sample


def test_a_retry_counts_detected_pages_from_its_start(run: Run, document: Path) -> None:
    (document / "ms_0002.jpg").write_bytes(b"")
    run.download()
    run.detect()
    run.reports.clear()
    run.download(plan=replace(PLAN, retries=1))
    first, last = run.reports[0][2], run.reports[-1][2]
    assert first == Coverage(3, 0, ())
    assert last == Coverage(3, 0, ((2, last.failed[0][1]),))  # type: ignore[union-attr]


@pytest.mark.parametrize("file", ["detected-by.json", "detections.jsonl"])
def test_a_record_that_a_power_cut_emptied_is_made_again(run: Run, file: str) -> None:
    run.download()
    run.detect()
    result = run.folder.annotations_json.read_bytes()
    (run.folder.path / file).write_bytes(b"")
    run.detect()
    assert run.folder.annotations_json.read_bytes() == result
    assert (run.folder.path / file).read_bytes()


def test_a_refresh_keeps_images_that_other_jobs_need(run: Run) -> None:
    run.request = replace(run.request, image_size="full")
    run.download(plan=DownloadPlan(None))
    again = Run(run.storage.root, run.request.manifest_url.removesuffix("/manifest.json"), run.fetcher, "again", True)
    again.download(plan=replace(PLAN, may_evict=lambda: False))
    run.detect()
    assert run.reports[-1][2] == Coverage(3, 1)


def test_a_cancelled_job_does_not_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    with Library().open() as shelf:
        run = Run(tmp_path / "data", shelf.url, build_fetcher(timeout=2))
        shelf.offer_manifest([Scan(30, 40)] * 3)
        for number in (1, 2, 3):
            shelf.answer(f"/iiif/{number}/info.json", Answer(hang=True))
        asked: list[int] = []

        def report(done: int, total: int, coverage: Coverage | None) -> None:
            asked.append(done)
            if len(asked) == 3:
                raise LeaseLost("cancelled")

        with pytest.raises(LeaseLost):
            run.download(report)
    assert asked == [0, 0, 0]


@pytest.mark.parametrize(("image_size", "longest"), [("full", 2400), ("2400", 1200)])
def test_the_detector_gets_every_pixel_at_the_full_size(
    run: Run, image_size: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.request = replace(run.request, image_size=image_size)
    run.download(plan=DownloadPlan(run.request.choose_longest(640)))
    seen: list[int] = []
    given = run.detector.detect
    monkeypatch.setattr(
        run.detector, "detect", lambda images: seen.extend(max(image.shape) for image in images) or given(images)
    )
    run.detect()
    assert seen[0] == longest


def replace_weights(run: Run) -> None:
    """Replace the weights file under the same name."""
    run.network = RectangleFinder()
    run.detector = Detector(run.network, run.detector.config, digest="other")  # type: ignore[arg-type]


def test_a_job_resumed_with_other_weights_detects_all_pages_again(run: Run) -> None:
    run.download()
    with pytest.raises(LeaseLost):
        run.detect(stop_after(2))
    assert run.annotated()
    replace_weights(run)
    run.detect()
    assert sum(shape[0] for shape in run.network.shapes) == 4
    assert run.reports[-1][:2] == (4, 4)


def test_a_retry_with_other_weights_fetches_and_detects_all_pages(run: Run, document: Path) -> None:
    page = (document / "ms_0002.jpg").read_bytes()
    (document / "ms_0002.jpg").write_bytes(b"")
    run.download()
    run.detect()
    (document / "ms_0002.jpg").write_bytes(page)
    shutil.rmtree(run.storage.images(run.request.manifest_url))  # as after RETENTION_DAYS
    replace_weights(run)
    discard_stale_detections(run.folder, "other")
    run.download(plan=replace(PLAN, retries=1))
    run.detect()
    assert sum(shape[0] for shape in run.network.shapes) == 4
    assert run.reports[-1] == (4, 4, Coverage(3, 1))


def detect_ahead(run: Run) -> None:
    while ahead.detect(run.request, run.storage.images(run.request.manifest_url), run.folder, run.detector):
        pass


def count_detected(run: Run) -> int:
    return sum(shape[0] for shape in run.network.shapes)


def test_pages_detected_ahead_are_counted_once(run: Run) -> None:
    run.download()
    detect_ahead(run)
    assert (run.counted.total(), count_detected(run)) == (0, 4)
    run.detect()
    run.detect()
    assert (run.counted.total(), count_detected(run)) == (4, 4)
    assert run.reports[-1] == (4, 4, Coverage(3, 1))
    boxes = [page.boxes[0].xywh for page in run.annotated() if page.boxes]
    run.folder.detections.remove()
    run.detect()
    assert [page.boxes[0].xywh for page in run.annotated() if page.boxes] == boxes


def test_a_page_detected_ahead_with_another_size_is_detected_again(run: Run) -> None:
    run.download()
    detect_ahead(run)
    page = load_fetched(run.folder)[0]
    save_fetched(run.folder, [replace(page, width=2 * page.width, height=2 * page.height)])
    run.detect()
    assert (run.counted.total(), count_detected(run)) == (4, 5)
    assert run.annotated()[0].width == 2 * page.width


def test_pages_detected_ahead_by_other_weights_are_detected_again(run: Run) -> None:
    run.download()
    detect_ahead(run)
    replace_weights(run)
    run.detect()
    assert (run.counted.total(), count_detected(run)) == (4, 4)


def test_detections_by_the_same_weights_are_kept(run: Run) -> None:
    run.download()
    run.detect()
    discard_stale_detections(run.folder, run.detector.digest)
    assert len(run.annotated()) == 4


def test_a_host_that_is_down_does_not_stop_the_pages_of_others(tmp_path: Path) -> None:
    with Library().open() as shelf, Library().open() as broken:
        run = Run(tmp_path / "data", shelf.url, build_fetcher())
        manifest = build_manifest_3(shelf.url, [Scan(60, 80)] * 20)
        for number, canvas in enumerate(manifest["items"][:12], 1):
            address = broken.answer(f"/{number}.jpg", Answer(503))
            canvas["items"][0]["items"][0]["body"] = {"id": address, "type": "Image"}
        shelf.offer_manifest([Scan(60, 80)] * 20)
        shelf.answer("/manifest.json", Answer(body=manifest))
        run.download()
    pages = load_fetched(run.folder)
    assert [page.file is None for page in pages] == [True] * 12 + [False] * 8


def test_whether_a_refresh_may_remove_images_is_asked_after_the_download(run: Run) -> None:
    fetched: list[int] = []

    def ask() -> bool:
        fetched.append(len(load_fetched(run.folder)))
        return True

    run.request = replace(run.request, refresh=True)
    run.download(plan=replace(PLAN, may_evict=ask))
    assert fetched == [4]
