"""Documents of jobs: recognised by their bytes, at a URL or stored, after an interruption, and invalid ones."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.errors import ExtractorError, FetchError, ManifestError, NotAnImage
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest
from app.sources.documents import fetch_document, load_manifest, store_file, store_path
from app.sources.local_pages import LocalPages
from app.sources.recognition import Limits
from app.storage import JobFolder
from tests.support.drawn_pdfs import build_page
from tests.support.library import Answer, Library, Scan, draw_image

PAGE = draw_image(60, 80)


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


SCANS = make_zip({"ms/p10.jpg": PAGE, "ms/p2.jpg": PAGE, "notes.txt": b"x", "__MACOSX/ms/._p2.jpg": b"x"})


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path / "job")


@pytest.fixture
def library(open_library: Library) -> Library:
    open_library.forget()
    return open_library


def store(content: bytes, folder: JobFolder, fetcher: Fetcher, limits: Limits = Limits()) -> Manifest:  # noqa: B008
    """Store a file and return its pages."""
    store_file(io.BytesIO(content), "file.x", folder)
    document = fetch_document("", folder, fetcher, limits, name="file.x")
    assert isinstance(document, Manifest)
    return document


def list_names(manifest: Any) -> list[str]:
    return [manifest.image_name(canvas) for canvas in manifest.canvases]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (SCANS, ["p2.jpg", "p10.jpg"]),
        (build_page(b""), ["codex_0001.jpg"]),
        (json.dumps({"p1": "https://a.example/1"}).encode(), ["p1"]),
        (b"https://a.example/1.jpg\n", ["1.jpg"]),
    ],
    ids=["zip", "PDF", "JSON list", "text list"],
)
def test_a_document_is_recognised_by_its_bytes(
    library: Library, fetcher: Fetcher, folder: JobFolder, content: bytes, names: list[str]
) -> None:
    url = library.answer("/files/codex.json", Answer(body=content, headers={"Content-Type": "text/html"}))
    document = fetch_document(url, folder, fetcher, Limits())
    assert isinstance(document, Manifest)
    assert (document.ref, list_names(document)) == ("codex", names)
    assert load_manifest(folder, url) == document
    library.forget()
    assert fetch_document(url, folder, fetcher, Limits()) == document, "a resumed job fetched it again"
    assert library.paths == []


def test_a_manifest_is_kept_as_it_was_fetched(library: Library, fetcher: Fetcher, folder: JobFolder) -> None:
    url = library.offer_manifest([Scan()])
    document = fetch_document(url, folder, fetcher, Limits())
    assert isinstance(document, Manifest)
    assert load_manifest(folder, url) == document
    assert not folder.source.exists()
    assert not folder.listing.exists()


def test_pages_of_a_zip_are_read_unchanged_with_their_size(fetcher: Fetcher, folder: JobFolder) -> None:
    first, _ = store(SCANS, folder, fetcher).canvases
    with LocalPages(folder) as pages:
        assert first.image is not None
        image = pages.read(first.image)
    assert (image.data, image.full_width, image.full_height) == (PAGE, 60, 80)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PAGE[:200], "damaged image"),
        (b"", "unsupported format"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\0\0\0\x18ftypheic", "a HEIC file"),
    ],
)
def test_a_broken_image_in_a_zip_is_a_page_that_fails(
    fetcher: Fetcher, folder: JobFolder, data: bytes, reason: str
) -> None:
    manifest = store(make_zip({"1.jpg": PAGE, "2.jpg": data}), folder, fetcher)
    assert list_names(manifest) == ["1.jpg", "2.jpg"]
    with LocalPages(folder) as pages, pytest.raises(NotAnImage, match=f"2.jpg .*{reason}"):
        pages.read(manifest.canvases[1].images[0])


def test_a_wrong_checksum_fails_one_page(fetcher: Fetcher, folder: JobFolder) -> None:
    content = bytearray(make_zip({"1.jpg": PAGE, "2.jpg": PAGE}))
    content[content.index(PAGE) + 100] ^= 1
    first, second = store(bytes(content), folder, fetcher).canvases
    with LocalPages(folder) as pages:
        with pytest.raises(NotAnImage, match=r"1.jpg in file.x is damaged"):
            pages.read(first.images[0])
        assert pages.read(second.images[0]).data == PAGE


def test_an_image_without_an_extension_is_a_page(fetcher: Fetcher, folder: JobFolder) -> None:
    assert list_names(store(make_zip({"0002": PAGE, "0001": PAGE, "README": b"x"}), folder, fetcher)) == [
        "0001",
        "0002",
    ]


def encrypt(content: bytes) -> bytes:
    """Set the flag "encrypted" of a file in the central directory."""
    place = content.index(b"PK\x01\x02") + 8
    return content[:place] + b"\x01\x00" + content[place + 2 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make_zip({}), "file.x is an empty zip file"),
        (make_zip({"a.zip": SCANS}), "no images but 1 .zip file"),
        (make_zip({"a.txt": b"x", "b.txt": b"y"}), "no images but 2 .txt files"),
        (make_zip({"../1.jpg": PAGE}), "'..'"),
        (make_zip({"1.jpg": PAGE, "bomb.jpg": bytes(30_000_000)}, zipfile.ZIP_DEFLATED), "compression ratio"),
        (encrypt(SCANS), "is encrypted"),
        (SCANS[:500], "is not a zip file, or it is incomplete"),
        (make_zip({f"{number}.jpg": b"" for number in range(4)}), "has 4 pages; at most 3 are accepted"),
        (b"a.example\n", "must be a IIIF manifest, a zip file"),
        (b"", "file.x is empty"),
        (b" \n ", "file.x is empty"),
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (PAGE, "is a file in the format JPEG"),
        (b"Rar!\x1a\x07", "is a RAR archive"),
        (b"{}", "has no images"),
        (b'{"a": 3}', "has no usable image; the first of 1: The list has no URL"),
        (b"{", "is not JSON"),
        (json.dumps([f"https://a.example/{number}" for number in range(4)]).encode(), "at most 3 are accepted"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_reason(
    fetcher: Fetcher, folder: JobFolder, content: bytes, reason: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        store(content, folder, fetcher, Limits(max_pages=3))
    assert reason in caught.value.message
    assert not folder.listing.exists()


def test_a_file_above_its_limit_is_not_downloaded(library: Library, fetcher: Fetcher, folder: JobFolder) -> None:
    endless = library.answer("/endless.zip", Answer(body=SCANS + bytes(100_000), endless=True))
    stated = library.answer("/stated.zip", Answer(body=SCANS, missing=3_000_000))
    for url in (endless, stated):
        with pytest.raises(FetchError, match="is larger than 1 MB"):
            fetch_document(url, folder, fetcher, Limits(max_file_bytes=1_000_000))
    assert not any(path.is_file() for path in folder.path.rglob("*"))


def test_a_truncated_download_is_not_taken_for_a_document(
    library: Library, fetcher: Fetcher, folder: JobFolder
) -> None:
    url = library.answer("/cut.zip", Answer(body=SCANS[:-50], missing=50))
    with pytest.raises(FetchError):
        fetch_document(url, folder, fetcher, Limits())
    assert not folder.source.exists()


def test_a_cancelled_download_stops(library: Library, fetcher: Fetcher, folder: JobFolder) -> None:
    url = library.answer("/big.zip", Answer(body=SCANS + bytes(1_000_000)))

    def stop() -> None:
        raise ExtractorError("cancelled")

    with pytest.raises(ExtractorError, match="cancelled"):
        fetch_document(url, folder, fetcher, Limits(), tick=stop)
    assert not folder.source.exists()


def test_a_refused_document_is_fetched_again_by_a_retry(library: Library, fetcher: Fetcher, folder: JobFolder) -> None:
    url = library.answer("/codex.zip", Answer(body=b"<html>"))
    with pytest.raises(ManifestError, match="HTML page"):
        fetch_document(url, folder, fetcher, Limits())
    library.answer("/codex.zip", Answer(body=SCANS))
    assert list_names(fetch_document(url, folder, fetcher, Limits())) == ["p2.jpg", "p10.jpg"]


def test_a_file_that_retention_removed_is_fetched_again_or_missed(
    library: Library, fetcher: Fetcher, folder: JobFolder, tmp_path: Path
) -> None:
    url = library.answer("/codex.zip", Answer(body=SCANS))
    document = fetch_document(url, folder, fetcher, Limits())
    folder.source.unlink()
    assert fetch_document(url, folder, fetcher, Limits()) == document
    stored = JobFolder(tmp_path / "other")
    image = store(SCANS, stored, fetcher).canvases[0].images[0]
    stored.source.unlink()
    assert len(load_manifest(stored, "file.x").canvases) == 2
    with LocalPages(stored) as pages, pytest.raises(FetchError, match="was removed from this server: send it again"):
        pages.read(image)


def test_a_folder_is_listed_like_a_zip(fetcher: Fetcher, folder: JobFolder, tmp_path: Path) -> None:
    root = tmp_path / "Codex 12"
    for name in ("vol1/1.jpg", "vol2/1.jpg", "vol1/.hidden.jpg", "vol1/notes.txt", "10.jpg", "9.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PAGE if name.endswith("jpg") else b"x")
    stored = store_path(root, folder)
    document = fetch_document("", folder, fetcher, Limits(), name=stored.name)
    assert isinstance(document, Manifest)
    assert document.ref == "Codex_12"
    assert list_names(document) == ["9.jpg", "10.jpg", "vol1_1.jpg", "vol2_1.jpg"]
    with LocalPages(folder) as pages:
        assert pages.read(document.canvases[3].images[0]).data == PAGE
    (root / "11.jpg").write_bytes(PAGE)
    store_path(root, folder)
    assert len(load_manifest(folder, stored.name).canvases) == 5


def test_a_folder_without_images_is_refused(folder: JobFolder, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no images"):
        store_path(tmp_path, folder)
