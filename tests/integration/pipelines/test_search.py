"""Searches in documents that were compared, step by step, with a fake network."""

import io
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.errors import FetchError, NotAnImage, RequestError
from app.iiif.fetch import Fetcher
from app.jobs.documents import EmbeddedDocument
from app.pipelines.image_cache import ImageCache
from app.pipelines.search import collection, work
from app.pipelines.search.query_image import fetch_detection, fetch_from_url, load_query
from app.pipelines.search.work import SearchPlan, Stores, search
from app.pipelines.similarity.documents import ImageList, ListedImage
from app.similarity.exact_search import SKETCH, Hit
from app.similarity.transpositions import Transposition
from app.storage import JobFolder, write_atomic
from tests.support.comparing import SHORTEST, Comparing, Thumbnails, draw
from tests.support.library import Answer, Library, Scan


@pytest.fixture
def library(open_library: Library) -> Library:
    open_library.forget()
    return open_library


class Searching:
    """A search in the documents of two jobs.

    Attributes:
        run: The job that compared ``a`` and ``b``. Image 2 of a is ``d`` of b; image 3 of a, mirrored, is ``c`` of b.
        found: Rows of the documents.
        opened: Reported numbers of open documents.
    """

    def __init__(self, run: Comparing) -> None:
        self.run = run
        self.folder = run.storage.job("search")
        self.found = self.list_rows(run)
        self.opened: list[int] = []

    @staticmethod
    def list_rows(run: Comparing) -> list[EmbeddedDocument]:
        return [EmbeddedDocument(run.folder.path.name, number, doc_id) for number, doc_id in enumerate(run.contents, 1)]

    def search(
        self,
        image: bytes,
        box: tuple[int, int, int, int] | None = None,
        transpositions: Sequence[str] = ("none",),
        k: int = 20,
        verify: int = 0,
    ) -> Any:
        """Search for an uploaded image; return the matches."""
        write_atomic(self.folder.query, image)
        return self.search_stored(True, box, transpositions, k, verify)["matches"]

    def search_stored(
        self,
        is_upload: bool,
        box: tuple[int, int, int, int] | None = None,
        transpositions: Sequence[str] = ("none",),
        k: int = 20,
        verify: int = 0,
    ) -> Any:
        stores = Stores(self.run.storage, self.run.store, self.run.features)
        plan = SearchPlan(k, verify, tuple(map(Transposition, transpositions)))
        query = load_query(self.folder, box, is_upload=is_upload)
        network = self.run.network
        return search(query, self.found, stores, network, plan, self.opened.append)  # type: ignore[arg-type]


class SearchNetwork(Thumbnails):
    """The fake network, with the device that a search needs."""

    device = torch.device("cpu")


@pytest.fixture
def searching(tmp_path: Path, library: Library, fetcher: Fetcher) -> Searching:
    run = Comparing(tmp_path / "data", library, fetcher)
    run.network = SearchNetwork()
    run.offer("a", {f"{number}.jpg": draw(number) for number in range(5)})
    run.offer("b", {"a": draw(10), "b": draw(11), "c": draw(3, mirrored=True), "d": draw(2)})
    run.download()
    run.compare()
    return Searching(run)


def name(matches: Any) -> list[tuple[str, str]]:
    return [(match["document"], match["image"]["name"]) for match in matches]


def test_the_same_image_is_found_in_every_document(searching: Searching) -> None:
    write_atomic(searching.folder.query, draw(2))
    result = searching.search_stored(True)
    assert (result["documents"], result["images"], len(result["matches"])) == (2, 9, 9)
    first, second, third, *_ = result["matches"]
    assert {*name([first, second])} == {("a", "2.jpg"), ("b", "d")}
    assert [round(match["score"], 2) for match in (first, second)] == [1.0, 1.0]
    assert third["score"] < 0.9
    assert first["image"]["url"].startswith(searching.run.library.url)
    assert (first["verdict"], first["region_1"]) == (None, None)


def test_a_score_is_that_of_the_score_file(searching: Searching) -> None:
    found = searching.run.find("a", "b")
    pairs = zip(found.scores.first, found.scores.second, found.scores.scores, strict=True)
    scores = {found.b.names[j]: score for i, j, score in pairs if found.a.names[i] == "1.jpg"}
    matches = [match for match in searching.search(draw(1)) if match["document"] == "b"]
    assert {match["image"]["name"]: match["score"] for match in matches} == pytest.approx(scores, abs=1e-6)


def test_a_mirrored_image_is_found_by_its_transposition(searching: Searching) -> None:
    query = draw(3)
    assert name(searching.search(query, k=1)) == [("a", "3.jpg")]
    matches = searching.search(query, transpositions=("none", "hflip"), k=2)
    assert [match["transposition"] for match in sorted(matches, key=lambda match: match["document"])] == [
        "none",
        "hflip",
    ]
    assert {*name(matches)} == {("a", "3.jpg"), ("b", "c")}


def test_verified_matches_come_first_with_their_regions(searching: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    big = partial(draw, size=(240, 240))
    searching.run.offer("c", {str(seed): big(seed) for seed in (30, 31)})
    searching.run.download()
    searching.run.compare()
    searching.found = searching.list_rows(searching.run)
    first, *others = searching.search(big(30), verify=3)
    assert (first["document"], first["image"]["name"], first["verdict"]) == ("c", "30", "same")
    assert first["probability"] > 0.9
    x, y, w, h = first["region_2"]
    assert (x + w, y + h) <= (240, 240)
    assert sum(match["verdict"] is not None for match in others) == 2
    same = searching.run.find("c", "c").a.names.index("30")
    hits = [Hit(2, 1 - same, 0.9, 0), Hit(2, same, 0.1, 0)]  # the verified match has the lower score
    monkeypatch.setattr(work, "_find_hits", lambda *_: hits)
    assert [match["score"] for match in searching.search(big(30), verify=2)] == [0.1, 0.9]


def test_the_best_of_more_verified_matches_than_wanted_is_returned(searching: Searching) -> None:
    assert len(searching.search(draw(2), k=1, verify=9)) == 1


def test_a_match_whose_image_is_gone_is_not_verified(searching: Searching) -> None:
    for source in searching.run.sources.values():
        source.cache.evict_all_except(set())
    matches = searching.search(draw(2), verify=5)
    assert [match["verdict"] for match in matches] == [None] * 9
    assert round(matches[0]["score"], 2) == 1.0


def test_the_newest_form_of_a_document_is_searched(searching: Searching) -> None:
    other = Comparing(searching.run.storage.root, searching.run.library, searching.run.fetcher, "newer")
    other.offer("a", {"new.jpg": draw(50)})
    other.download()
    other.compare()
    searching.found = [*searching.list_rows(other), *searching.found]
    assert name(searching.search(draw(2), k=1)) == [("b", "d")]
    record = other.folder.document(1, ".compared")
    record.unlink()  # as long as the newer job compares
    assert ("a", "2.jpg") in name(searching.search(draw(2), k=2))


def test_removed_embeddings_are_reported(searching: Searching) -> None:
    for content in searching.run.contents.values():
        searching.run.storage.forget_content(content)
    with pytest.raises(RequestError, match="compare them again"):
        searching.search(draw(2))


def test_long_embeddings_are_sketched_once_and_scored_whole(
    searching: Searching, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = searching.search(draw(1), k=4)
    for module in (collection, work):
        monkeypatch.setattr(module, "LONGEST", 100)
    for _ in range(2):
        matches = searching.search(draw(1), k=4)
        assert name(matches) == name(expected)
        assert [match["score"] for match in matches] == pytest.approx([match["score"] for match in expected], abs=1e-6)
        assert searching.opened == [0, 1]
    sketches = [*searching.run.storage.embeddings.rglob("sketches.npy")]
    assert [np.load(path).shape[1] for path in sketches] == [SKETCH, SKETCH]


def save(image: Image.Image, form: str = "PNG") -> bytes:
    body = io.BytesIO()
    image.save(body, form)
    return body.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (300, 2)])
def test_an_image_without_features_has_no_verified_match(searching: Searching, size: tuple[int, int]) -> None:
    matches = searching.search(save(Image.new("RGB", size, "white")), verify=3)
    assert [match["verdict"] for match in matches[:3]] == ["none"] * 3
    assert [match["region_1"] for match in matches[:3]] == [None] * 3


def test_a_region_of_an_upload_is_searched(searching: Searching) -> None:
    page = Image.new("RGB", (400, 300), "white")
    page.paste(Image.open(io.BytesIO(draw(4))), (100, 50))
    (match,) = searching.search(save(page), box=(100, 50, 60, 60), k=1)
    assert (match["image"]["name"], round(match["score"], 2)) == ("4.jpg", 1.0)
    with pytest.raises(RequestError, match="xywh: 400,0,5,5 lies outside of the image, which has 400 x 300 pixels"):
        searching.search(save(page), box=(400, 0, 5, 5))


def test_a_damaged_or_huge_upload_is_refused(searching: Searching) -> None:
    with pytest.raises(NotAnImage, match="image is a damaged image"):
        searching.search(draw(1)[:200])
    with pytest.raises(NotAnImage, match="image has too many pixels; at most 170000000 are accepted"):
        searching.search(save(Image.new("1", (14_000, 14_000))))


def fetch(searching: Searching, url: str, box: tuple[int, int, int, int] | None = None) -> None:
    run = searching.run
    caches: Callable[[int | None], ImageCache] = partial(ImageCache, run.storage.images("searches"), run.fetcher)
    fetch_from_url(searching.folder, url, box, caches, run.fetcher, SHORTEST)


def test_an_image_at_a_url_is_searched(searching: Searching) -> None:
    fetch(searching, searching.run.library.answer("/x.png", Answer(body=draw(2))))
    result = searching.search_stored(False, k=2)
    assert {*name(result["matches"])} == {("a", "2.jpg"), ("b", "d")}


def test_a_region_of_an_image_at_a_url_is_cropped(searching: Searching) -> None:
    page = Image.new("RGB", (400, 300), "white")
    page.paste(Image.open(io.BytesIO(draw(4))), (100, 50))
    url = searching.run.library.answer("/page.png", Answer(body=save(page)))
    fetch(searching, url, (100, 50, 60, 60))
    assert name(searching.search_stored(False, k=1)["matches"]) == [("a", "4.jpg")]
    with pytest.raises(RequestError, match="lies outside of the image, which has 400 x 300 pixels"):
        fetch(searching, url, (0, 300, 60, 60))


def test_a_region_is_requested_from_the_image_service(searching: Searching) -> None:
    library = searching.run.library
    url = f"{library.offer(Scan(1200, 1600, level=2, regions=True))}/full/full/0/default.jpg"
    fetch(searching, url, (300, 400, 600, 2000))
    query = load_query(searching.folder, None, is_upload=False)
    assert (query.size, query.path.exists()) == ((600, 1200), True)
    assert any("/300,400,600,1200/" in path for path in library.paths)
    with pytest.raises(RequestError, match="1200 x 1600 pixels"):
        fetch(searching, url, (1200, 0, 60, 60))


def test_a_url_without_an_image_is_reported(searching: Searching) -> None:
    with pytest.raises(FetchError, match="404"):
        fetch(searching, searching.run.library.answer("/none.png", Answer(404)), (0, 0, 5, 5))


class Illustrations:
    """The source of three illustrations on two canvases."""

    def __init__(self, searching: Searching, error: str = "") -> None:
        self.cache = searching.run.sources["a"].cache
        self._source = searching.run.sources["a"]
        url = searching.run.library.url
        boxes = [(1, (0, 0, 120, 120)), (2, (10, 10, 240, 240)), (2, (50, 50, 120, 120))]
        images = [ListedImage(str(n), f"{url}/a/{n}.png", canvas, box) for n, (canvas, box) in enumerate(boxes)]
        self._list = ImageList(error=error) if error else ImageList(tuple(images))

    def list_images(self) -> ImageList:
        return self._list

    def fetch(self, image: ListedImage) -> Any:
        return self._source.fetch(image)

    def close(self) -> None:
        return None


@pytest.mark.parametrize(("index", "box"), [(2, None), (0, (50, 50, 120, 120))])
def test_a_detection_is_found_by_its_position_or_its_box(searching: Searching, index: int, box: Any) -> None:
    fetch_detection(searching.folder, Illustrations(searching), 2, index, box)  # type: ignore[arg-type]
    query = load_query(searching.folder, None, is_upload=False)
    assert (query.size, query.file_size) == ((120, 120), (60, 60))
    assert {*name(searching.search_stored(False, k=2)["matches"])} == {("a", "2.jpg"), ("b", "d")}


@pytest.mark.parametrize(
    ("index", "box", "error", "message"),
    [
        (3, None, "", "Canvas 2 of the job has no detection 3: it has 2 detections."),
        (0, (1, 2, 3, 4), "", "Canvas 2 of the job has no detection at 1,2,3,4: it has 2 detections."),
        (1, None, "They were removed.", "They were removed."),
    ],
)
def test_a_missing_detection_is_named(searching: Searching, index: int, box: Any, error: str, message: str) -> None:
    source: Any = Illustrations(searching, error)
    with pytest.raises(RequestError, match=f"^{message}$"):
        fetch_detection(JobFolder(searching.folder.path), source, 2, index, box)


def test_a_search_names_the_right_images_after_an_interrupted_retry(searching: Searching) -> None:
    run = searching.run
    run.offer("c", {"0": draw(20), "1": draw(21), "2": Answer(404), "3": draw(22)})
    run.download()
    run.compare()
    searching.found = searching.list_rows(run)
    run.library.answer("/c/2.png", Answer(body=draw(23)))
    run.download(retries=1)

    def interrupt(done: int, total: int, coverage: object) -> None:
        if run.contents["c"] != first:
            raise InterruptedError

    first = run.contents["c"]
    with pytest.raises(InterruptedError):
        run.compare(report=interrupt)
    assert run.contents["c"] != first
    assert [name(searching.search(draw(seed), k=1)) for seed in (20, 21, 22)] == [[("c", each)] for each in "013"]


def test_no_score_of_a_search_exceeds_one(searching: Searching) -> None:
    assert max(match["score"] for seed in range(5) for match in searching.search(draw(seed))) <= 1


def test_a_search_counts_as_a_use_of_local_features(searching: Searching) -> None:
    searching.search(draw(2), verify=2)
    files = list(searching.run.storage.features.rglob("*.npz"))
    for path in files:
        os.utime(path, (0, 0))
    searching.search(draw(2), verify=2)
    searching.run.storage.remove_old_comparisons(7)
    assert files
    assert all(path.exists() for path in files)
