from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import LeaseLost, ManifestError
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import parse_document
from app.pipelines.detection.expansion import expand
from tests.support.library import Answer, Library


@pytest.fixture
def shelves() -> Iterator[Library]:
    with Library().open() as library:
        yield library


def offer(shelves: Library, name: str, *members: str) -> Collection:
    """Serve a collection of manifests (names) and of collections (names that begin with ``c``)."""
    items: list[dict[str, Any]] = [
        {"id": f"{shelves.url}/{member}", "type": "Collection" if member.startswith("c") else "Manifest"}
        for member in members
    ]
    body = {"id": f"{shelves.url}/{name}", "type": "Collection", "items": items}
    answer = Answer(body=body)
    url = shelves.answer(f"/{name}", answer)
    collection = parse_document(answer.content, url)
    assert isinstance(collection, Collection)
    return collection


def go_on(fetched: int) -> None:
    """Report of a job that is still wanted."""


def names(urls: list[str]) -> list[str]:
    return [url.rpartition("/")[2] for url in urls]


def test_the_manifests_of_collections_in_collections_are_found_once(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c1", "m1", "c2", "m2", "c3")
    offer(shelves, "c2", "m3", "m1")
    offer(shelves, "c3", "c4")
    offer(shelves, "c4", "m4")
    assert sorted(names(expand(first, fetcher, 100, go_on))) == ["m1", "m2", "m3", "m4"]


def test_collections_that_contain_each_other_come_to_an_end(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c1", "m1", "c2")
    offer(shelves, "c2", "c1", "c2", "m2")
    assert names(expand(first, fetcher, 100, go_on)) == ["m1", "m2"]
    assert shelves.paths == ["/c2"]


def test_a_part_that_does_not_come_is_left_to_a_job_of_its_own(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c1", "m1", "cgone", "cpage")
    shelves.answer("/cpage", Answer(body="<html>"))
    assert names(expand(first, fetcher, 100, go_on)) == ["m1", "cgone", "cpage"]


def test_a_collection_in_many_pages_is_read_to_its_end(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "m0", "c1")
    for page in range(1, 20):
        offer(shelves, f"c{page}", f"m{page}", *([f"c{page + 1}"] if page < 19 else []))
    assert names(expand(first, fetcher, 100, go_on)) == [f"m{page}" for page in range(20)]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_collection_of_too_many_manifests_is_refused(shelves: Library, fetcher: Fetcher, most: int) -> None:
    first = offer(shelves, "c1", "m1", "m2", "c2")
    offer(shelves, "c2", "m3", "m4")
    with pytest.raises(ManifestError, match=f"more than {most} manifests: send its parts"):
        expand(first, fetcher, most, go_on)


def test_a_chain_of_collections_without_end_is_refused(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", *(f"c{number}" for number in range(1, 20)))
    with pytest.raises(ManifestError, match="more than 5 manifests"):
        expand(first, fetcher, 5, go_on)
    assert len(shelves.paths) <= 5


def test_as_many_collections_as_manifests_are_read(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "c1", "c2", "c3")
    for number in (1, 2, 3):
        offer(shelves, f"c{number}", f"m{number}")
    assert names(expand(first, fetcher, 3, go_on)) == ["m1", "m2", "m3"]
    with pytest.raises(ManifestError, match="more than 2 manifests"):
        expand(first, fetcher, 2, go_on)
    assert shelves.paths == ["/c1", "/c2", "/c3"]


def test_a_collection_whose_parts_are_too_many_is_refused_as_soon_as_that_is_known(
    shelves: Library, fetcher: Fetcher
) -> None:
    first = offer(shelves, "c0", "c1", "c2")
    offer(shelves, "c1", *(f"cx{number}" for number in range(500)))
    with pytest.raises(ManifestError, match="more than 5 manifests"):
        expand(first, fetcher, 5, go_on)
    assert shelves.paths == ["/c1"]


def test_a_job_that_is_no_longer_wanted_fetches_nothing_more(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "c1", "c2")
    offer(shelves, "c1", "m1")

    def report(fetched: int) -> None:
        if fetched == 1:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        expand(first, fetcher, 100, report)
    assert shelves.paths == ["/c1"]
