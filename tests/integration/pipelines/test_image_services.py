"""Image services that deviate from the specifications: each page is fetched, and refused requests are not repeated."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.pipelines.detection.pages import FetchedPage, load_fetched
from tests.integration.pipelines.conftest import build_fetcher
from tests.integration.pipelines.test_detection import Run
from tests.support.library import Answer, Library, Scan, build_manifest_2, draw_image, redirect

SCAN = Scan(1200, 1600, regions=True)
PAGES = 12
NO_SIZES = {"width": None, "height": None}


class Download:
    """A download of a document from a server that deviates from the specifications."""

    def __init__(self, root: Path, library: Library) -> None:
        self.library = library
        self.run = Run(root, library.url, build_fetcher())

    def fetch(self, scans: Sequence[Scan], **changes: Any) -> list[FetchedPage]:
        """Serve scans, fetch them, and return the outcomes.

        Args:
            scans: Images; the page number is their name.
            changes: New values of members of the image resources: ``{n}`` in a text is the page number. A member
                ``service`` is merged into the service; None removes a member.
        """
        manifest = build_manifest_2(self.library.url, list(scans))
        for number, scan in enumerate(scans, 1):
            self.library.offer(scan, str(number))
            for name, value in changes.items():
                text = json.dumps(value).replace("{n}", str(number)).replace("{url}", self.library.url)
                _change(_find_resource(manifest, number), name, json.loads(text))
        self.library.answer("/manifest.json", Answer(body=manifest))
        self.run.download()
        return load_fetched(self.run.folder)

    def serve_files(self, path: str, size: tuple[int, int] = (1200, 1600)) -> str:
        """Serve the image files of all pages without a service. Return their URL, with ``{n}`` for the number."""
        for number in range(1, PAGES + 1):
            self.library.answer(path.replace("{n}", str(number)), Answer(body=draw_image(*size)))
        return f"{{url}}{path}"

    def count(self, part: str) -> int:
        return sum(part in path for path in self.library.paths)


def _find_resource(manifest: dict[str, Any], number: int) -> dict[str, Any]:
    resource: dict[str, Any] = manifest["sequences"][0]["canvases"][number - 1]["images"][0]["resource"]
    return resource


def _change(resource: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        resource.pop(name)
    elif name == "service":
        resource["service"].update(value)
    else:
        resource[name] = value


@pytest.fixture
def download(tmp_path: Path, open_library: Library) -> Download:
    open_library.forget()
    return Download(tmp_path / "data", open_library)


def check(pages: Sequence[FetchedPage], size: tuple[int, int] = (1200, 1600)) -> None:
    """Check that each page was fetched and has this full size."""
    found = [(page.number, page.reason, page.width, page.height) for page in pages]
    assert found == [(number, "", *size) for number in range(1, PAGES + 1)]


@pytest.mark.parametrize(
    "ending",
    ["/info.json?x=1", "/info.json//", "/full/full/0/default.jpg", "/full/max/0/default.jpg/info.json", " "],
)
def test_a_service_id_may_end_with_a_request(download: Download, ending: str) -> None:
    """https://github.com/inveniosoftware/invenio-rdm-records/issues/981"""
    check(download.fetch([SCAN] * PAGES, service={"@id": f" {{url}}/iiif/{{n}}{ending}"}))
    assert not download.library.refused
    assert download.count("/full/480,/0/default.jpg") == PAGES


@pytest.mark.parametrize("path", ["/files/{n}.jpg?token=a/b", "/iiif/{n}/full/full/0/default.jpg?token=ab"])
@pytest.mark.parametrize(("status", "changes"), [(302, {}), (401, {}), (401, NO_SIZES), (403, NO_SIZES), (404, {})])
def test_the_image_url_is_requested_if_the_service_refuses(
    download: Download, path: str, status: int, changes: dict[str, None]
) -> None:
    """All-or-nothing access: https://iiif.io/api/auth/1.0/#all-or-nothing-access"""
    refusal = redirect("/login") if status == 302 else Answer(status)
    download.library.answer("/login", Answer(body="<html>sign in</html>"))
    for number in range(1, PAGES + 1):
        download.library.answer(f"/iiif/{number}/info.json", refusal)
    own = download.serve_files(path)
    check(download.fetch([replace(SCAN, instead=refusal)] * PAGES, **{"@id": own}, **changes))
    assert len(download.library.refused) <= 6
    assert download.count("token=") == PAGES


@pytest.mark.parametrize(("version", "name"), [(1, "default.jpg"), (1, "native.jpg"), (2, "native.jpg")])
@pytest.mark.parametrize("path", ["/iiif/{n}/full/full/0/NAME", "/files/{n}.jpg", None])
def test_the_name_that_exists_is_found(download: Download, version: int, name: str, path: str | None) -> None:
    """Version 2 replaced ``native`` by ``default``: http://iiif.io/api/image/2.0/change-log.html"""
    scans = [replace(SCAN, version=version, info=False, names=(name,), refusal=404)] * PAGES
    check(download.fetch(scans, **{"@id": path and "{url}" + path.replace("NAME", name)}))
    assert download.count(f"/full/480,/0/{name}") == PAGES
    assert len(download.library.refused) <= 4  # three of them for the info.json of the sample


@pytest.mark.parametrize("changes", [{}, NO_SIZES])
def test_only_the_file_of_the_image_exists(download: Download, changes: dict[str, None]) -> None:
    scans = [replace(SCAN, info=False, forms=(), refusal=404)] * PAGES
    check(download.fetch(scans, **{"@id": download.serve_files("/files/{n}.jpg")}, **changes))
    assert len(download.library.refused) <= 6
    assert download.count("/files/") == PAGES


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("quality", "form"), [("usual", "png"), ("gray", "webp")])
def test_listed_qualities_and_formats_are_requested(download: Download, version: int, quality: str, form: str) -> None:
    """https://iiif.io/api/image/1.1/#image-info-request, https://iiif.io/api/image/3.0/#57-extra-functionality"""
    quality = quality.replace("usual", "native" if version == 1 else "default")
    lists: dict[str, Any] = {"qualities": [quality], "formats": [form]}
    if version == 2:
        lists = {"profile": ["http://iiif.io/api/image/2/level1.json", lists]}
    elif version == 3:
        lists = {"extraQualities": [quality], "extraFormats": [form]}
    scan = replace(SCAN, version=version, names=(f"{quality}.{form}",), more=lists, refusal=404)
    check(download.fetch([scan] * PAGES))
    assert download.count(f"/full/480,/0/{quality}.{form}") == PAGES
    assert len(download.library.refused) <= 3


@pytest.mark.parametrize("kind", ["redirect", "redirect to a host", "other ID", "same ID"])
@pytest.mark.parametrize(("changes", "size"), [({"width": 1200, "height": 1600}, (1200, 1600)), (NO_SIZES, (300, 400))])
def test_a_smaller_image_replaces_a_restricted_one(
    download: Download, kind: str, changes: dict[str, Any], size: tuple[int, int]
) -> None:
    """Tiered access: https://iiif.io/api/auth/1.0/#tiered-access"""
    small, scans = Scan(300, 400), [replace(SCAN, instead=Answer(401))] * PAGES
    for number in range(1, PAGES + 1):
        base = download.library.offer(small, f"{number}-small")
        answer = Answer(401, small.build_info(base))
        if kind == "same ID":
            answer, scans = Answer(401, small.build_info(f"{download.library.url}/iiif/{number}")), [small] * PAGES
        elif kind.startswith("redirect"):
            host = "localhost" if kind == "redirect to a host" else "127.0.0.1"
            answer = redirect(f"{base.replace('127.0.0.1', host)}/info.json")
        download.library.answer(f"/iiif/{number}/info.json", answer)
    pages = download.fetch(scans, **changes)
    check(pages, size)
    assert all(("copy of 300 x 400 pixels" in page.note) == (size == (1200, 1600)) for page in pages)
    assert all(path.endswith("/info.json") for path in download.library.refused)
    assert len(download.library.paths) <= 1 + 3 * PAGES


@pytest.mark.parametrize("status", [401, 403])
def test_the_image_url_may_show_more_than_the_substitute(download: Download, status: int) -> None:
    for number in range(1, PAGES + 1):
        answer = Answer(status, Scan(300, 400).build_info(f"{download.library.url}/iiif/{number}"))
        download.library.answer(f"/iiif/{number}/info.json", answer)
    own = download.serve_files("/files/{n}.jpg?token=a")
    check(download.fetch([replace(SCAN, instead=Answer(status))] * PAGES, **{"@id": own}, **NO_SIZES))


def test_a_server_that_serves_only_whole_images_is_asked_for_no_other(download: Download) -> None:
    check(download.fetch([replace(SCAN, forms=("full",), refusal=404)] * PAGES))
    assert len(download.library.refused) <= 3


def test_a_server_that_moved_is_asked_at_its_new_address(download: Download) -> None:
    for number in range(1, PAGES + 1):
        download.library.answer(f"/old/{number}/info.json", redirect(f"/iiif/{number}/info.json"))
    check(download.fetch([SCAN] * PAGES, service={"@id": "{url}/old/{n}"}))
    assert len(download.library.paths) == 1 + 2 * 3 + PAGES


@pytest.mark.parametrize("size", [(1138, 1668), (1230, 1800), (593, 869), (2372, 3476), (1738, 1186)])
@pytest.mark.parametrize(("version", "manifest"), [(1, "right"), (2, "wrong"), (3, "absent")])
def test_an_image_with_another_size_than_stated_is_measured(
    download: Download, version: int, size: tuple[int, int], manifest: str
) -> None:
    """https://github.com/ruven/iipsrv/issues/157, https://github.com/libvips/libvips/issues/1818"""
    stated = {"width": size[0], "height": size[1]}
    changes: dict[str, dict[str, Any]] = {"right": {}, "wrong": stated, "absent": NO_SIZES}
    pages = download.fetch([Scan(1186, 1738, version=version, regions=True, more=stated)] * PAGES, **changes[manifest])
    check(pages, (1186, 1738))
    assert all(f"states {size[0]} x {size[1]} pixels" in page.note for page in pages)
    assert not download.library.refused


def test_a_note_and_boxes_in_measured_pixels_reach_the_result(download: Download) -> None:
    scan = Scan(1186, 1738, regions=True, more={"width": 1138, "height": 1668})
    download.fetch([scan] * PAGES)
    download.run.detect()
    (record, *_) = json.loads(download.run.folder.annotations_json.read_bytes())
    assert (record["width"], record["height"], record["status"]) == (1186, 1738, "detected")
    assert "it has 1186 x 1738" in record["note"]
    x, y, w, h = record["detections"][0]["xywh"]
    # The drawn rectangle reaches from a quarter to three quarters of the image.
    expected = (1186 / 4, 1738 / 4, 1186 * 3 / 4, 1738 * 3 / 4)
    assert max(abs(a - b) for a, b in zip((x, y, x + w, y + h), expected, strict=True)) <= 4
    coverage = download.run.reports[-1][2]
    assert coverage is not None
    assert len(coverage.as_json()["notes"]) == PAGES


def test_sizes_that_are_wrong_outside_of_the_sample_are_found(download: Download) -> None:
    wrong = Scan(1186, 1738, regions=True, more={"width": 1138, "height": 1668})
    pages = download.fetch([SCAN] * 5 + [wrong] * 3 + [SCAN] * 4)
    assert [(page.width, page.height) for page in pages[5:8]] == [(1186, 1738)] * 3


def test_a_strip_replaces_the_info_of_a_single_page(download: Download) -> None:
    (page,) = download.fetch([SCAN])
    assert (page.width, page.height, page.note) == (1200, 1600, "")
    assert len(download.library.paths) == 3
    assert download.count("/info.json") == 0


@pytest.mark.parametrize("size", [(600, 800), (1180, 1600), (1230, 1640), (2400, 3200), (1600, 1200)])
@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_wrong_size_of_a_single_page_is_found(download: Download, size: tuple[int, int], is_repeated: bool) -> None:
    stated = {"width": size[0], "height": size[1]}
    (page,) = download.fetch([replace(SCAN, more=stated if is_repeated else {})], **stated)
    assert (page.width, page.height) == (1200, 1600)


def test_a_single_page_needs_no_regions(download: Download) -> None:
    (page,) = download.fetch([replace(SCAN, regions=False)])
    assert (page.width, page.height) == (1200, 1600)


def test_the_limit_of_a_server_is_not_the_size_of_the_image(download: Download) -> None:
    """A server may not state its limit: https://github.com/ruven/iipsrv/issues/157"""
    for number in range(1, PAGES + 1):
        download.library.answer(f"/iiif/{number}/full/full/0/default.jpg", Answer(body=draw_image(600, 800)))
    check(download.fetch([replace(SCAN, forms=("full",))] * PAGES))


@pytest.mark.parametrize("body", [b"<html>sign in</html>", draw_image(400, 400)])
@pytest.mark.parametrize(("place", "info"), [(1, True), (5, True), (5, False)])
def test_a_login_page_or_a_placeholder_is_no_page(download: Download, body: bytes, place: int, info: bool) -> None:
    """One page of a document may be restricted: https://github.com/UniversalViewer/universalviewer/issues/245"""
    scans = [replace(SCAN, info=info)] * PAGES
    scans[place - 1] = replace(scans[place - 1], instead=Answer(body=body))
    pages = download.fetch(scans)
    assert [page.number for page in pages if page.file is None] == [place]
    assert "instead of" in pages[place - 1].reason
    assert {(page.width, page.height) for page in pages if page.file} == {(1200, 1600)}
    assert download.count("/info.json") <= 4


def test_the_image_url_is_requested_instead_of_a_placeholder(download: Download) -> None:
    scans = [SCAN] * PAGES
    scans[5] = replace(SCAN, instead=Answer(body=draw_image(400, 400)))
    check(download.fetch(scans, **{"@id": download.serve_files("/files/{n}.jpg")}))
    assert download.count("/files/") == 1
