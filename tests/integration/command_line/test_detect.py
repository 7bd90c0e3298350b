"""``python -m app detect``: folders, files and manifests become annotations and pictures."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from app.demo.contact_sheet import parse_annotations
from app.images.overlays import FOUND
from tests.integration.command_line.conftest import SAMPLE, Run
from tests.support.library import Answer, Library, Scan

SMALL = Scan(300, 400)


def test_a_folder_becomes_annotations_and_pictures(command: Run, pages: Path, tmp_path: Path) -> None:
    done = command("detect", pages, "--out", tmp_path / "out")
    assert (done.code, done.stderr) == (0, "")
    assert "ms-1: 1 page with illustrations, 1 without, 0 failed" in done.stdout
    result = tmp_path / "out" / "ms-1"
    found = parse_annotations((result / "annotations.txt").read_text())
    assert [len(boxes) for boxes in found.values()] == [1, 0]
    assert list(found) == ["p1.jpg", "p2.jpg"]
    with Image.open(result / "overlays" / "0001.png") as overlay:
        x, y, _, h = (round(side * overlay.height / 2500) for side in found["p1.jpg"][0])
        assert overlay.convert("RGB").getpixel((x + 1, y + h // 2)) == FOUND
    assert [path.name for path in (result / "overlays").iterdir()] == ["0001.png"]
    with Image.open(result / "contact-sheet-001.png") as sheet:
        assert sheet.width > 2 * 220


def test_a_second_run_fetches_only_what_is_missing(command: Run, library: Library, tmp_path: Path) -> None:
    url = library.offer_manifest([SMALL, Scan(300, 400, instead=Answer(404))])
    arguments = ("detect", url, "--out", tmp_path / "out", "--no-pictures", "--json")
    first = command(*arguments)
    assert first.code == 3, first
    (document,) = first.facts["documents"]
    assert [page["canvas_number"] for page in document["coverage"]["failed"]] == [2]
    library.forget()
    library.offer_manifest([SMALL, SMALL])
    second = command(*arguments)
    assert second.code == 0
    coverage = second.facts["documents"][0]["coverage"]
    assert (coverage["detected"] + coverage["empty"], coverage["failed"]) == (2, [])
    assert not [path for path in library.paths if path.startswith("/iiif/1/") or "manifest" in path]


def test_refresh_fetches_everything_again(command: Run, library: Library, tmp_path: Path) -> None:
    url = library.offer_manifest([SMALL])
    for more in ((), ("--refresh",)):
        assert command("detect", url, "--out", tmp_path / "out", "--no-pictures", *more).code == 0
    assert library.paths.count("/manifest.json") == 2
    assert sum(path.endswith("default.jpg") for path in library.paths) == 2


def test_changed_files_are_detected_again(command: Run, pages: Path, tmp_path: Path) -> None:
    arguments = ("detect", pages, "--out", tmp_path / "out", "--no-pictures", "--json")
    assert command(*arguments).facts["documents"][0]["coverage"]["detected"] == 1
    shutil.copy(SAMPLE / "page_0002.jpg", pages / "p2.jpg")
    assert command(*arguments).facts["documents"][0]["coverage"]["detected"] == 2


def test_results_inside_of_the_folder_are_no_pages(command: Run, pages: Path) -> None:
    arguments = ("detect", pages, "--out", pages / "results", "--json")
    for _ in range(2):
        (document,) = command(*arguments).facts["documents"]
        assert document["coverage"]["detected"] == 1
        assert not document["coverage"]["failed"]


def test_files_and_single_images_are_documents(command: Run, pages: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ms-2.zip", "w") as archive:
        archive.write(pages / "p1.jpg", "a/p1.jpg")
        archive.writestr("a/p2.jpg", b"\xff\xd8\xff broken")
    with Image.open(pages / "p1.jpg") as image:
        image.save(tmp_path / "ms-3.pdf")
    sources = (tmp_path / "ms-2.zip", tmp_path / "ms-3.pdf", pages / "p1.jpg")
    done = command("detect", *sources, "--out", tmp_path / "out", "--no-pictures", "--json")
    assert done.code == 3
    found = {each["manifest_ref"]: each["coverage"] for each in done.facts["documents"]}
    assert [(ref, each["detected"], len(each["failed"])) for ref, each in found.items()] == [
        ("ms-2", 1, 1),
        ("ms-3", 1, 0),
        ("p1", 1, 0),
    ]


def test_a_failed_document_does_not_stop_the_others(command: Run, library: Library, tmp_path: Path) -> None:
    good = library.offer_manifest([SMALL])
    members = [{"id": url, "type": "Manifest"} for url in (good, f"{library.url}/nowhere.json", good)]
    body = {"id": f"{library.url}/all.json", "type": "Collection", "items": members}
    url = library.answer("/all.json", Answer(body=body))
    done = command("detect", url, tmp_path / "missing", "--out", tmp_path / "out", "--no-pictures", "--json")
    assert done.code == 1
    errors = [each["error"] and each["error"]["code"] for each in done.facts["documents"]]
    assert errors == [None, "fetch_failed", "bad_request"]
    assert f"{tmp_path}/missing does not exist" in done.stderr


def test_documents_with_the_same_name_get_folders_of_their_own(command: Run, pages: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    shutil.copytree(pages, tmp_path / "b" / "MS-1")
    arguments = ("detect", pages, tmp_path / "b" / "MS-1", "--out", tmp_path / "out", "--no-pictures", "--json")
    for _ in range(2):
        folders = [Path(each["folder"]).name for each in command(*arguments).facts["documents"]]
        assert folders == ["ms-1", "MS-1-2"]


def test_a_folder_with_other_files_is_left_alone(command: Run, pages: Path) -> None:
    before = sorted(pages.iterdir())
    done = command("detect", SAMPLE, "--out", pages)
    assert (done.code, sorted(pages.iterdir())) == (1, before)
    assert done.stderr.startswith(f"Error: --out: {pages} has other files")


def test_two_runs_do_not_share_an_output_folder(command: Run, pages: Path, tmp_path: Path) -> None:
    own = tmp_path / "out" / ".extractor"
    own.mkdir(parents=True)
    with FileLock(own / ".lock"):
        done = command("detect", pages, "--out", tmp_path / "out", "--json")
    assert (done.code, done.facts["error"]["code"]) == (1, "bad_request")
    assert "another run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("detect", "{sample}"), 2, "Missing option '--out'"),
        (("detect", "--out", "{out}"), 2, "Missing argument 'SOURCE...'"),
        (("detect", "{sample}", "--out", "{out}", "--tiles", "on"), 2, "--tiles"),
        (("detect", "{sample}", "--out", "{out}", "--image-size", "huge"), 1, "image_size must be a number of pixels"),
        (("detect", "{sample}", "--out", "{out}", "--model", "nope"), 1, "model 'nope' is not among the weights"),
        (("detect", "ftp://a.example/b", "--out", "{out}"), 1, "is not a web address"),
        (("detect", "http://a.example:x/", "--out", "{out}"), 1, "is not a web address"),
        (("detect", "{sample}/README.md", "--out", "{out}"), 1, "unsupported format"),
        (("detect", "\udcff", "--out", "{out}"), 1, "does not exist"),
        (("detect", "/dev/zero", "--out", "{out}"), 1, "/dev/zero is neither a file nor a folder"),
        (("detect", "{odd}", "--out", "{out}"), 1, r"p\udcff.jpg has a name that is not valid text"),
        (("detect", "a" * 300, "--out", "{out}"), 1, "cannot be used: File name too long"),
        (("detect", "{out}", "--out", "{out}"), 1, "has results of this program"),
        (("nope",), 2, "No such command 'nope'"),
    ],
)
def test_a_wrong_call_is_explained_in_one_sentence(
    command: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    places = {"sample": SAMPLE, "out": tmp_path / "out", "odd": tmp_path / "odd"}
    places["odd"].mkdir()
    shutil.copy(SAMPLE / "page_0001.jpg", os.fsencode(places["odd"]) + b"/p\xff.jpg")
    done = command(*(each.format(**places) for each in arguments))
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_malformed_setting_is_explained(command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIDENCE", "much")
    done = command("detect", SAMPLE, "--out", tmp_path / "out", "--json")
    assert (done.code, done.facts["error"]["code"]) == (1, "bad_settings")
    assert "CONFIDENCE" in json.dumps(done.facts)
