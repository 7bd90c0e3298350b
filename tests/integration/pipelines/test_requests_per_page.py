"""One request per page: image sizes of the manifest replace ``info.json`` once a sample confirms them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import LeaseLost
from app.pipelines.detection.page_fetching import Report
from app.pipelines.detection.pages import load_fetched
from tests.integration.pipelines.conftest import build_fetcher
from tests.integration.pipelines.test_detection import Run
from tests.support.library import Answer, Library, Scan, build_manifest_2, build_manifest_3

SCAN = Scan(1200, 1600)


class Download:
    """A download of a document whose manifest may state other sizes than the images have."""

    def __init__(self, root: Path, library: Library) -> None:
        self.library = library
        self.run = Run(root, library.url, build_fetcher())

    def fetch(
        self,
        scans: Sequence[Scan],
        stated: Sequence[Scan] | None = None,
        version: int = 3,
        report: Report | None = None,
    ) -> None:
        self.library.offer_manifest(list(scans))
        build = build_manifest_2 if version == 2 else build_manifest_3
        self.library.answer("/manifest.json", Answer(body=build(self.library.url, list(stated or scans))))
        self.run.download(report)

    @property
    def sizes(self) -> list[tuple[int | None, int | None]]:
        return [(page.width, page.height) for page in load_fetched(self.run.folder)]

    def count(self, ending: str) -> int:
        return sum(path.endswith(ending) for path in self.library.paths)


@pytest.fixture
def download(tmp_path: Path, library_server: Library) -> Download:
    return Download(tmp_path / "data", library_server)


@pytest.fixture
def library_server(open_library: Library) -> Library:
    open_library.forget()
    return open_library


def sizes_of(scans: Sequence[Scan]) -> list[tuple[int, int]]:
    return [(scan.width, scan.height) for scan in scans]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("image_version", [1, 2, 3])
def test_a_hundred_pages_need_at_most_105_requests(download: Download, version: int, image_version: int) -> None:
    scans = [Scan(1200 + number, 1600 + 2 * number, version=image_version) for number in range(100)]
    download.fetch(scans, version=version)
    assert download.sizes == sizes_of(scans)
    assert len(download.library.paths) <= 105
    assert download.count("/info.json") == 3


@pytest.mark.parametrize("request_", ["full/300,400/0", "full/!500,500/0", "full/pct:100/0"])
def test_full_sizes_next_to_other_image_urls_need_no_info_json_per_page(download: Download, request_: str) -> None:
    url = download.library.offer_manifest([SCAN] * 20, version=2)
    manifest = build_manifest_2(download.library.url, [SCAN] * 20)
    for canvas in manifest["sequences"][0]["canvases"]:
        resource = canvas["images"][0]["resource"]
        resource["@id"] = resource["@id"].replace("full/full/0", request_)
        canvas |= {"width": SCAN.width, "height": SCAN.height}
    download.library.answer(url.removeprefix(download.library.url), Answer(body=manifest))
    download.run.download()
    assert download.sizes == sizes_of([SCAN] * 20)
    assert download.count("/info.json") == 3
    assert len(download.library.paths) <= 25


def test_sizes_of_reduced_images_are_not_taken_for_full_sizes(download: Download) -> None:
    url = download.library.offer_manifest([replace(SCAN, info=False)] * 8, version=2)
    manifest = build_manifest_2(download.library.url, [Scan(600, 800)] * 8)
    for canvas in manifest["sequences"][0]["canvases"]:
        resource = canvas["images"][0]["resource"]
        resource["@id"] = resource["@id"].replace("full/full/0", "full/600,800/0")
        canvas |= {"width": SCAN.width, "height": SCAN.height}
    download.library.answer(url.removeprefix(download.library.url), Answer(body=manifest))
    download.run.download()
    assert download.sizes == sizes_of([SCAN] * 8)


def test_the_same_reduced_sizes_are_requested_as_with_info_json(download: Download) -> None:
    scans = [Scan(1234 + number, 1651) for number in range(20)]
    download.fetch(scans)
    requested = {path.split("/")[2]: path for path in download.library.paths if "/full/" in path}
    for number, scan in enumerate(scans, 1):
        assert requested[str(number)].split("/")[4] == f"{scan.width * 640 // scan.height},"


def test_a_manifest_with_wrong_sizes_is_found_out_by_the_sample(download: Download) -> None:
    scans = [SCAN] * 12
    download.fetch(scans, [Scan(600, 800)] * 12)
    assert download.sizes == sizes_of(scans)
    assert download.count("/info.json") >= 12


def test_a_wrong_size_in_the_middle_is_found_out_by_its_proportions(download: Download) -> None:
    scans = [SCAN] * 12
    stated = [*scans]
    stated[4] = Scan(1200, 1500)
    download.fetch(scans, stated)
    assert download.sizes == sizes_of(scans)


def test_pages_fetched_before_a_wrong_one_are_checked_again(download: Download) -> None:
    scans = [SCAN] * 40
    # Page 3 has the right proportions at half the size, which alone would not be noticed.
    stated = [*scans]
    stated[2], stated[30] = Scan(900, 1200), Scan(1200, 1500)
    download.fetch(scans, stated)
    assert download.sizes == sizes_of(scans)


def test_an_image_smaller_than_stated_is_found_out(download: Download) -> None:
    scans = [SCAN] * 12
    scans[7] = Scan(300, 400)
    download.fetch(scans, [SCAN] * 12)
    assert download.sizes == sizes_of(scans)


def test_sizes_that_the_server_lists_are_preferred_without_info_json(download: Download) -> None:
    def halve(width: int, height: int) -> Scan:
        listed = [{"width": width // factor, "height": height // factor} for factor in (1, 2, 4, 8)]
        return Scan(width, height, more={"sizes": listed})

    download.fetch([halve(2601 + 2 * number, 1803) for number in range(20)])
    requested = {path.split("/")[4] for path in download.library.paths if "/full/" in path}
    assert requested == {f"{(2601 + 2 * number) // 4}," for number in range(20)}
    assert download.count("/info.json") == 3


def test_at_level_0_a_listed_size_is_requested_or_info_json_says_it(download: Download) -> None:
    def offer(width: int, height: int, *sizes: tuple[int, int]) -> Scan:
        more = {"sizes": [{"width": w, "height": h} for w, h in sizes]}
        return Scan(width, height, level=0, sizes=sizes, more=more)

    scans = [offer(1200 + 16 * number, 1600, (600 + 8 * number, 800)) for number in range(12)]
    scans[5] = offer(1000, 1600, (450, 720))  # not as the rule of the others has it
    download.fetch(scans)
    assert download.sizes == sizes_of(scans)
    assert [page.file is None for page in load_fetched(download.run.folder)] == [False] * 12
    assert download.count("/info.json") == 4


@pytest.mark.parametrize("version", [2, 3])
def test_a_listed_size_may_round_both_sides(download: Download, version: int) -> None:
    scans = [
        Scan(2047 + 4 * number, 3000, version=version, level=0, sizes=((511 + number, 750),)) for number in range(20)
    ]
    download.fetch(scans)
    assert download.sizes == sizes_of(scans)
    assert download.count("/info.json") == 3


def test_a_server_without_info_json_is_not_asked_for_one_per_page(download: Download) -> None:
    scans = [replace(SCAN, info=False)] * 20
    download.fetch(scans)
    assert download.sizes == sizes_of(scans)
    assert download.count("/info.json") == 3


def test_a_sample_that_fails_for_a_moment_leaves_each_page_its_info_json(download: Download) -> None:
    download.library.answer("/iiif/1/info.json", Answer(503), Answer(503), Answer(body=SCAN.build_info("x")))
    download.fetch([SCAN] * 8)
    assert download.sizes == sizes_of([SCAN] * 8)
    assert len({path for path in download.library.paths if path.endswith("info.json")}) == 8


def test_a_manifest_without_sizes_gets_the_info_json_of_each_page(download: Download) -> None:
    download.library.offer_manifest([SCAN] * 8)
    manifest = build_manifest_3(download.library.url, [SCAN] * 8)
    for canvas in manifest["items"]:
        body = canvas["items"][0]["items"][0]["body"]
        del body["width"], body["height"]
    download.library.answer("/manifest.json", Answer(body=manifest))
    download.run.download()
    assert download.sizes == sizes_of([SCAN] * 8)
    assert download.count("/info.json") == 8


def test_a_page_whose_image_is_missing_fails_alone(download: Download) -> None:
    scans = [SCAN] * 12
    download.library.offer_manifest(scans)
    for path in ("full/480,/0/default.jpg", "full/480,640/0/default.jpg", "full/full/0/default.jpg", "info.json"):
        download.library.answer(f"/iiif/6/{path}", Answer(404))
    download.run.download()
    failed = [page.number for page in load_fetched(download.run.folder) if page.file is None]
    assert failed == [6]
    assert download.count("/info.json") == 4


def test_a_cancelled_download_leaves_no_image_with_a_wrong_size(download: Download) -> None:
    scans = [SCAN] * 40
    stated = [*scans]
    stated[2], stated[30] = Scan(900, 1200), Scan(1200, 1500)

    def cancel_when_all_are_fetched(done: int, total: int, coverage: object) -> None:
        if done == total:
            raise LeaseLost("cancelled")

    with pytest.raises(LeaseLost):
        download.fetch(scans, stated, report=cancel_when_all_are_fetched)
    assert {page.width for page in load_fetched(download.run.folder)} <= {SCAN.width}
    download.fetch(scans, stated)
    assert download.sizes == sizes_of(scans)
