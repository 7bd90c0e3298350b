import json
from typing import Any

import pytest

from app.errors import ManifestError
from app.sources import image_lists
from app.sources.image_lists import parse_image_list
from app.sources.listing import Kind, ListedPage, Listing
from app.sources.recognition import Limits, parse_text

A = "https://a.example"


def parse(document: Any) -> list[ListedPage] | None:
    return parse_image_list(document if isinstance(document, bytes) else json.dumps(document).encode())


def test_an_object_names_its_images() -> None:
    assert parse({"p2": f"{A}/1", "p1": f" {A}/2 "}) == [ListedPage(f"{A}/1", "p2"), ListedPage(f"{A}/2", "p1")]


@pytest.mark.parametrize(
    "document",
    [
        [f"{A}/x/1.jpg", f"{A}/iiif/2/ms_2/full/full/0/default.jpg"],
        f"\ufeff{A}/x/1.jpg\r\n\r\n  {A}/iiif/2/ms_2/full/full/0/default.jpg\n".encode(),
    ],
    ids=["JSON", "text"],
)
def test_a_list_without_names_takes_those_of_the_files(document: Any) -> None:
    assert [page.name for page in parse(document) or []] == ["1.jpg", "ms_2"]


def test_files_with_the_same_name_are_numbered() -> None:
    pages = parse([f"{A}/x/1.jpg", f"{A}/y/1.jpg", f"{A}/2.jpg"])
    manifest = Listing(Kind.LIST, f"{A}/list", "list", "", pages or []).build_manifest()
    names = [manifest.image_name(canvas) for canvas in manifest.canvases]
    assert names == ["list_0001.jpg", "list_0002.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"a": f"{A}/1", "b": 3}, "no URL"),
        ({"a": f"{A}/1", "b": "ftp://a.example/1"}, "not a web address"),
        ({"a": f"{A}/1", "b": "https://user:secret@a.example/1"}, "user name or a password"),
        ({"a": f"{A}/1", "../b": f"{A}/2"}, "is a path"),
        ([f"{A}/1", None], "no URL"),
        ([f"{A}/1", f"{A}/{'x' * 5000}"], "longer than"),
        (f"{A}/1\nnowhere".encode(), "not a web address"),
        (f'{{"a": "{A}/1", "b": "{A}/2", "b": "{A}/3"}}'.encode(), "two images with this name"),
        ({"a": f"{A}/1", "\ud800": f"{A}/2"}, "unprintable"),
    ],
)
def test_an_invalid_entry_stays_in_the_list_with_a_reason(document: Any, reason: str) -> None:
    good, bad = parse(document) or []
    assert good.reason == ""
    assert reason in bad.reason
    assert "secret" not in bad.reason


@pytest.mark.parametrize(
    "document",
    [
        {"@context": "http://iiif.io/api/presentation/3/context.json", "type": "Manifest", "items": []},
        {"@type": "sc:Manifest", "sequences": []},
        [{"type": "Manifest"}],
        3,
        b"hello\nhttps://a.example/1",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_other_documents_are_no_lists(document: Any) -> None:
    assert parse(document) is None


@pytest.mark.parametrize("document", [{}, []])
def test_an_empty_list_is_a_list(document: Any) -> None:
    assert parse(document) == []


@pytest.mark.parametrize("data", [b"https://a.example/1\n" * 9, b'["https://a.example/1"' + b', ""' * 8 + b"]"])
def test_entries_are_counted_before_they_are_read(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lists, "explain_address", None)
    with pytest.raises(ManifestError, match="has 9 pages; at most 8 are accepted"):
        parse_text(data, "list", Limits(max_pages=8))


def test_a_listing_survives_the_disk() -> None:
    pages = [ListedPage("vol 1/é#?.jpg", "é.jpg"), ListedPage("", reason="Why.")]
    listing = Listing(Kind.ZIP, f"{A}/x.zip", "x", "key", pages)
    assert Listing.parse(listing.format()) == listing
    first, second = listing.build_manifest().canvases
    assert first.image is not None
    assert first.image.url == f"{A}/x.zip#vol%201/%C3%A9%23%3F.jpg"
    assert (second.image, second.reason) == (None, "Why.")
