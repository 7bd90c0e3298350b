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
    """Serve a collection. Names of members that begin with ``c`` are collections, others are manifests."""
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


def ignore_progress(fetched: int) -> None:
    """Progress callback of a job that is not cancelled."""


def names(urls: list[str]) -> list[str]:
    return [url.rpartition("/")[2] for url in urls]


def test_manifests_of_nested_collections_are_found_once(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c1", "m1", "c2", "m2", "c3")
    offer(shelves, "c2", "m3", "m1")
    offer(shelves, "c3", "c4")
    offer(shelves, "c4", "m4")
    assert sorted(names(expand(first, fetcher, 100, ignore_progress))) == ["m1", "m2", "m3", "m4"]


def test_collections_that_contain_each_other_are_read_once(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c1", "m1", "c2")
    offer(shelves, "c2", "c1", "c2", "m2")
    assert names(expand(first, fetcher, 100, ignore_progress)) == ["m1", "m2"]
    assert shelves.paths == ["/c2"]


def test_a_part_that_cannot_be_fetched_is_left_to_its_own_job(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c1", "m1", "cgone", "cpage")
    shelves.answer("/cpage", Answer(body="<html>"))
    assert names(expand(first, fetcher, 100, ignore_progress)) == ["m1", "cgone", "cpage"]


def test_all_pages_of_a_collection_are_read(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "m0", "c1")
    for page in range(1, 20):
        offer(shelves, f"c{page}", f"m{page}", *([f"c{page + 1}"] if page < 19 else []))
    assert names(expand(first, fetcher, 100, ignore_progress)) == [f"m{page}" for page in range(20)]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_collection_of_too_many_manifests_is_refused(shelves: Library, fetcher: Fetcher, most: int) -> None:
    first = offer(shelves, "c1", "m1", "m2", "c2")
    offer(shelves, "c2", "m3", "m4")
    with pytest.raises(ManifestError, match=f"more than {most} manifests: send its parts"):
        expand(first, fetcher, most, ignore_progress)


def test_an_endless_chain_of_collections_is_refused(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", *(f"c{number}" for number in range(1, 20)))
    with pytest.raises(ManifestError, match="more than 5 manifests"):
        expand(first, fetcher, 5, ignore_progress)
    assert len(shelves.paths) <= 5


def test_the_limit_also_applies_to_nested_collections(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "c1", "c2", "c3")
    for number in (1, 2, 3):
        offer(shelves, f"c{number}", f"m{number}")
    assert names(expand(first, fetcher, 3, ignore_progress)) == ["m1", "m2", "m3"]
    with pytest.raises(ManifestError, match="more than 2 manifests"):
        expand(first, fetcher, 2, ignore_progress)
    assert shelves.paths == ["/c1", "/c2", "/c3"]


def test_a_collection_with_too_many_parts_is_refused_early(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "c1", "c2")
    offer(shelves, "c1", *(f"cx{number}" for number in range(500)))
    with pytest.raises(ManifestError, match="more than 5 manifests"):
        expand(first, fetcher, 5, ignore_progress)
    assert shelves.paths == ["/c1"]


def test_a_cancelled_job_fetches_nothing_more(shelves: Library, fetcher: Fetcher) -> None:
    first = offer(shelves, "c0", "c1", "c2")
    offer(shelves, "c1", "m1")

    def report(fetched: int) -> None:
        if fetched == 1:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        expand(first, fetcher, 100, report)
    assert shelves.paths == ["/c1"]
