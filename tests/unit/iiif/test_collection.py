import json
from typing import Any

import pytest

from app.errors import ManifestError
from app.iiif.collection import Collection
from app.iiif.manifest import parse_document
from tests.support.library import Scan, build_manifest_3

URL = "https://library.example/collection/top"
BASE = "https://library.example"


def parse(document: Any) -> Collection:
    read = parse_document(json.dumps(document).encode(), URL)
    assert isinstance(read, Collection)
    return read


def refer(name: str, kind: str = "Manifest", version: int = 3) -> dict[str, Any]:
    """Return a member of a collection in the form of version 2 or 3."""
    if version == 2:
        return {"@id": f"{BASE}/{name}", "@type": f"sc:{kind}", "label": name}
    return {"id": f"{BASE}/{name}", "type": kind, "label": {"none": [name]}}


def names(addresses: tuple[str, ...]) -> list[str]:
    return [address.removeprefix(f"{BASE}/") for address in addresses]


def test_the_lists_of_version_2_are_read() -> None:
    collection = parse(
        {
            "@id": f"{BASE}/own",
            "@type": "sc:Collection",
            "manifests": [refer("a", version=2), refer("b", version=2)],
            "collections": [refer("c", "Collection", 2)],
        }
    )
    assert (collection.url, collection.id) == (URL, f"{BASE}/own")
    assert names(collection.manifests) == ["a", "b"]
    assert names(collection.collections) == ["c"]


def test_members_of_version_2_are_sorted_by_type_without_duplicates() -> None:
    members = [refer("b", version=2), refer("c", "Collection", 2), refer("a", version=2), refer("b", version=2)]
    collection = parse({"@type": "sc:Collection", "manifests": [refer("a", version=2)], "members": members})
    assert names(collection.manifests) == ["b", "a"]
    assert names(collection.collections) == ["c"]


def test_items_of_version_3_are_sorted_by_type() -> None:
    items = [refer("a"), refer("c", "Collection"), refer("b"), refer("page", "Canvas")]
    collection = parse({"id": URL, "type": "Collection", "items": items})
    assert names(collection.manifests) == ["a", "b"]
    assert names(collection.collections) == ["c"]


@pytest.mark.parametrize(
    "page", [f"{BASE}/page/1", refer("page/1", "Collection", 2), refer("page/1", "CollectionPage")]
)
@pytest.mark.parametrize("place", ["first", "next"])
def test_the_next_page_is_among_the_collections(place: str, page: Any) -> None:
    collection = parse({"@type": "sc:Collection", "total": 9, place: page, "last": f"{BASE}/page/9", "prev": URL})
    assert names(collection.collections) == ["page/1"]


def test_a_page_that_links_to_itself_is_not_fetched_again() -> None:
    document = {"@id": f"{BASE}/own", "@type": "sc:Collection", "manifests": [refer("a", version=2)]}
    assert parse({**document, "next": URL, "first": f"{BASE}/own"}).collections == ()


def test_relative_ids_are_resolved_against_the_collection() -> None:
    """https://www.w3.org/TR/json-ld11/#base-iri"""
    inner = {"@type": "sc:Collection", "manifests": ["b/manifest.json"]}
    document = {"@id": "own", "@type": "sc:Collection", "manifests": [{"@id": "/a"}, "../c"], "collections": [inner]}
    collection = parse({**document, "first": "own", "next": "?page=2"})
    assert names(collection.manifests) == ["a", "c", "collection/b/manifest.json"]
    assert names(collection.collections) == ["collection/top?page=2"]


def test_an_embedded_collection_is_not_fetched() -> None:
    inner = {**refer("c", "Collection"), "items": [refer("b"), refer("d", "Collection"), refer("a")]}
    collection = parse({"type": "Collection", "items": [refer("a"), inner, refer("e")]})
    assert names(collection.manifests) == ["a", "b", "e"]
    assert names(collection.collections) == ["d"]
    paged = {"@type": "sc:Collection", "first": {"@id": f"{BASE}/page/1", "manifests": [refer("a", version=2)]}}
    assert names(parse(paged).manifests) == ["a"]


def test_an_embedded_collection_without_members_is_fetched() -> None:
    inner = {**refer("c", "Collection"), "items": []}
    assert names(parse({"type": "Collection", "items": [inner]}).collections) == ["c"]


def test_an_embedded_manifest_is_listed_by_its_url() -> None:
    collection = parse({"type": "Collection", "items": [build_manifest_3(BASE, [Scan()])]})
    assert names(collection.manifests) == ["ms-3/manifest.json"]


def test_very_deeply_embedded_collections_are_fetched() -> None:
    document: dict[str, Any] = {"type": "Collection", "items": [refer("deepest")]}
    for depth in range(100):
        document = {**refer(str(depth), "Collection"), "items": [refer(f"ms-{depth}"), document]}
    collection = parse(document)
    assert 10 < len(collection.manifests) < 100
    assert len(collection.collections) == 1


@pytest.mark.parametrize("wrap", [lambda value: {"@set": value}, lambda value: [value], lambda value: value[0]])
def test_wrapped_lists_of_a_collection_are_read(wrap: Any) -> None:
    assert names(parse({"@type": ["sc:Collection"], "manifests": wrap([f"{BASE}/a"])}).manifests) == ["a"]
    assert names(parse({"type": "Collection", "items": wrap([refer("a")])}).manifests) == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        {"manifests": [f"{BASE}/a"]},
        {"members": [{"@id": f"{BASE}/a"}]},
        {"items": [refer("a")]},
        {"@type": "sc:collection", "manifests": [{"@id": "//library.example/a"}]},
        {"collections": [{"manifests": [{"@id": f"{BASE}/a"}]}]},
    ],
)
def test_a_collection_without_a_type_is_recognized(document: Any) -> None:
    assert names(parse(document).manifests) == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        {"type": "Collection"},
        {"@type": "sc:Collection", "manifests": [], "members": None, "collections": {}},
        {"type": "Collection", "items": [{"type": "Manifest"}, 7, None, refer("page", "Canvas")]},
        {"@type": "sc:Collection", "next": URL},
    ],
)
def test_an_empty_collection_is_refused(document: Any) -> None:
    with pytest.raises(ManifestError, match="is a collection that lists no manifests") as caught:
        parse(document)
    assert caught.value.message.startswith(URL)


@pytest.mark.parametrize("place", ["manifests", "collections", "members", "items"])
def test_parsing_stops_in_a_collection_that_is_too_long(place: str) -> None:
    kind = "Collection" if place == "collections" else "Manifest"
    document = {"@type": "sc:Collection", place: [refer(f"{number // 2}", kind) for number in range(1000)]}
    read = parse_document(json.dumps(document).encode(), URL, max_members=10)
    assert isinstance(read, Collection)
    assert names(read.manifests or read.collections) == [str(number) for number in range(11)]


def test_the_id_of_a_collection_is_truncated() -> None:
    document = {"id": "x" * 1_000_000, "type": "Collection", "items": [refer("a")]}
    assert len(parse(document).id) == 2000
