import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.errors import FetchError, LeaseLost, NoSpace
from app.iiif.fetch import Fetcher
from app.pipelines.image_cache import ImageCache
from app.pipelines.similarity.documents import Coverage, DocumentRecords
from app.pipelines.similarity.download import DownloadPlan, download
from app.pipelines.similarity.image_sources import MissingSource
from app.similarity.transpositions import Transposition
from app.storage import Storage
from tests.support.comparing import Comparing, draw
from tests.support.library import Answer, Library

# Number of distinct images in the two documents.
DISTINCT = 8


@pytest.fixture
def run(tmp_path: Path, library: Library, fetcher: Fetcher) -> Comparing:
    """Two documents of five and four images. Image 2 of a is d of b; image 3 of a, mirrored, is c of b."""
    run = Comparing(tmp_path / "data", library, fetcher)
    run.offer("a", {f"{number}.jpg": draw(number) for number in range(5)})
    run.offer("b", {"a": draw(10), "b": draw(11), "c": draw(3, mirrored=True), "d": draw(2)})
    return run


@pytest.fixture
def library(open_library: Library) -> Library:
    open_library.forget()
    return open_library


def kill_after(done: int) -> object:
    def report(so_far: int, total: int, coverage: Coverage | None) -> None:
        if so_far >= done:
            raise LeaseLost("killed")

    return report


def test_every_pair_has_scores_and_identical_images_rank_first(run: Comparing) -> None:
    run.download()
    run.compare()
    assert run.list_results() == ["a-a", "a-b", "b-b"]
    assert run.find_best("a", "b") == ("2.jpg", "d", 1.0, "none")
    assert run.find_best("a", "a")[2] < 0.9
    assert len(run.find("a", "b").scores) == 5 * 4
    assert len(run.find("a", "a").scores) == 5 * 4 / 2
    assert run.reports[-1][:2] == (9 + 3, 9 + 3)
    assert run.coverage.as_json() == {
        "documents": [
            {"doc_id": "a", "images": 5, "usable": 5, "failed": [], "error": None},
            {"doc_id": "b", "images": 4, "usable": 4, "failed": [], "error": None},
        ]
    }


def draw_line_art(seed: int, form: str = "PNG", ground: tuple[int, ...] = (0, 0, 0, 0)) -> bytes:
    """Return black lines on a transparent ground."""
    random = np.random.default_rng(seed)
    drawing, body = Image.new("RGBA", (64, 64), ground), io.BytesIO()
    for _ in range(6):
        ImageDraw.Draw(drawing).line([*random.integers(0, 64, 4).tolist()], fill=(0, 0, 0, 255), width=5)
    drawing.save(body, form)
    return body.getvalue()


def test_drawings_on_transparent_ground_are_compared_by_their_lines(
    tmp_path: Path, library: Library, fetcher: Fetcher
) -> None:
    run = Comparing(tmp_path / "data", library, fetcher)
    run.offer("a", {"one": draw_line_art(1), "two": draw_line_art(2)})
    run.offer("b", {"on white": draw_line_art(1, "TIFF", (255, 255, 255, 255)), "other": draw_line_art(3)})
    run.download()
    run.compare()
    assert run.find_best("a", "a")[2] < 0.9
    assert run.find_best("a", "b") == ("one", "on white", 1.0, "none")


def test_a_mirrored_image_is_found_on_request(run: Comparing) -> None:
    run.transpositions = (Transposition.NONE, Transposition.HFLIP)
    run.download()
    run.compare()
    found = run.find("a", "b")
    rows = zip(found.scores.first, found.scores.second, found.scores.transpositions, found.scores.scores, strict=True)
    best = {(found.a.names[i], found.b.names[j]): (code, round(score, 2)) for i, j, code, score in rows}
    assert best["3.jpg", "c"] == (1, 1.0)
    assert best["2.jpg", "d"] == (0, 1.0)


def test_only_the_topk_matches_of_each_image_are_kept(run: Comparing) -> None:
    run.topk = 1
    run.download()
    run.compare()
    scores = run.find("a", "b").scores
    assert set(scores.first) == set(range(5))
    assert set(scores.second) == set(range(4))
    assert len(scores) < 9


def test_a_failed_image_is_named_and_never_compared(run: Comparing) -> None:
    run.offer("c", {"good": draw(2), "gone": Answer(404), "html": Answer(body=b"<html>"), "cut": draw(3)[:400]})
    run.download()
    run.compare()
    (_, _, document) = run.coverage.documents
    assert (document.images, document.usable, document.error) == (4, 1, "")
    reasons = dict(document.failed)
    assert list(reasons) == ["gone", "html", "cut"]
    assert "404" in reasons["gone"]
    assert "HTML" in reasons["html"]
    assert run.find("a", "c").b.names == ["good"]
    assert run.find_best("a", "c") == ("2.jpg", "good", 1.0, "none")
    assert len(run.find("c", "c").scores) == 0
    assert run.counted["images failed"] == 3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "HTML page"),
        (b"\xff\xfe", "unsupported format"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "has no images"),
        ({}, "has no images"),
        ({"x": 1}, "no URL"),
        ({"x": "nowhere"}, "not a web address"),
        ({"../x": "https://a.example/"}, "is a path"),
        ({str(number): "https://a.example/" for number in range(1001)}, "at most 1000 are accepted"),
    ],
)
def test_a_document_without_a_valid_list_is_reported_and_skipped(run: Comparing, body: object, reason: str) -> None:
    run.list_at("bad", run.library.answer("/bad.json", Answer(body=body)))
    run.download()
    run.compare()
    document = run.coverage.documents[2]
    assert (document.doc_id, document.usable) == ("bad", 0)
    assert reason in document.error
    assert document.error.endswith((".", ";"))
    assert run.list_results() == ["a-a", "a-b", "b-b"]


def test_a_list_that_cannot_be_fetched_is_reported(run: Comparing) -> None:
    run.list_at("bad", run.library.answer("/bad.json", Answer(404)))
    run.download()
    assert "404" in run.coverage.documents[2].error


def test_invalid_entries_of_a_list_are_reported(run: Comparing) -> None:
    good = run.library.answer("/good.png", Answer(body=draw(2)))
    names = f'{{"good": "{good}", "x/y": "{good}", "n": 5, "twice": "{good}", "twice": "{good}", "\\ud800": "{good}"}}'
    run.list_at("odd", run.library.answer("/odd.json", Answer(body=names)))
    run.download()
    document = run.coverage.documents[2]
    assert (document.images, document.usable) == (5, 1)
    reasons = dict(document.failed)
    assert list(reasons) == ["x/y", "n", "twice", "\\ud800"]
    assert "two images" in reasons["twice"]


def test_a_job_without_any_usable_image_fails_with_the_reason(
    tmp_path: Path, library: Library, fetcher: Fetcher
) -> None:
    run = Comparing(tmp_path, library, fetcher)
    run.offer("a", {"1": Answer(404)})
    run.list_at("b", library.answer("/b.json", Answer(body=[])))
    with pytest.raises(FetchError, match=r"None of the 2 documents .* the first, 'a': None of its 1 images .* 404"):
        run.download()
    assert [document.doc_id for document in run.coverage.documents] == ["a", "b"]


def test_an_interrupted_download_fetches_nothing_twice(run: Comparing) -> None:
    with pytest.raises(LeaseLost):
        run.download(report=kill_after(3))
    with pytest.raises(LeaseLost):
        run.download(report=kill_after(5))
    run.download()
    assert len(run.library.paths) == len(set(run.library.paths)) == 9 + 2


def test_an_incomplete_record_of_an_image_is_ignored(run: Comparing) -> None:
    run.download()
    path = run.folder.document(1, ".jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    records = DocumentRecords.load(run.folder, 1, "a")
    assert len(records.fetched) == 4
    run.download()
    assert len(DocumentRecords.load(run.folder, 1, "a").fetched) == 5
    assert len(run.library.paths) == 9 + 2


@pytest.mark.parametrize("transpositions", [("none",), ("none", "hflip", "rot90")])
def test_a_killed_embedding_resumes_and_embeds_nothing_twice(
    run: Comparing, transpositions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pipelines.similarity.document_embedder.FLUSH_SECONDS", 0)
    run.transpositions = tuple(map(Transposition, transpositions))
    run.download()
    for done in (2, 5, 7):
        with pytest.raises(LeaseLost):
            run.compare(report=kill_after(done))
    assert run.network.embedded < DISTINCT * len(transpositions)
    run.compare()
    assert run.network.embedded == DISTINCT * len(transpositions)
    assert run.find_best("a", "b")[:3] in (("2.jpg", "d", 1.0), ("3.jpg", "c", 1.0))


def test_a_killed_job_leaves_no_incomplete_arrays_in_use(run: Comparing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pipelines.similarity.document_embedder.FLUSH_SECONDS", 0)
    run.download()
    with pytest.raises(LeaseLost):
        run.compare(report=kill_after(4))
    assert not list(run.storage.embeddings.rglob("*.npy"))
    run.compare()
    assert not list(run.storage.embeddings.rglob("*.part"))
    for path in run.storage.embeddings.rglob("*.npy"):
        assert np.linalg.norm(np.load(path).astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)


def test_adding_a_document_computes_that_document_and_its_pairs(run: Comparing) -> None:
    for number in range(4):
        run.offer(f"c{number}", {"x": draw(20 + number), "y": draw(30 + number)})
    run.download()
    run.compare()
    assert (run.network.embedded, run.counted["pairs compared"]) == (DISTINCT + 8, 21)
    more = run.again("more")
    more.offer("new", {"x": draw(50), "y": draw(51), "z": draw(3)})
    asked = len(run.library.paths)
    more.download()
    assert len(run.library.paths) - asked == 7 + 3  # the lists, and the new images
    more.compare()
    assert more.network.embedded == 2  # the third is in another document
    assert (more.counted["pairs compared"], more.counted["pairs known"]) == (7, 21)
    assert more.find_best("a", "new") == ("3.jpg", "z", 1.0, "none")


def test_known_documents_need_no_network(run: Comparing) -> None:
    run.download()
    run.compare()
    again = run.again("again")
    again.download()
    again.compare()
    assert (again.network.loads, again.counted) == (0, {"pairs known": 3})
    other = run.again("other")
    other.identity = "other weights"
    other.download()
    other.compare()
    assert (other.network.embedded, other.counted["pairs compared"]) == (DISTINCT, 3)


@pytest.mark.parametrize("change", [{"topk": 3}, {"transpositions": (Transposition.NONE, Transposition.VFLIP)}])
def test_other_parameters_give_new_scores_of_stored_embeddings(run: Comparing, change: dict[str, object]) -> None:
    run.download()
    run.compare()
    again = run.again("again")
    vars(again).update(change)
    again.download()
    again.compare()
    assert again.counted["pairs compared"] == 3
    assert again.network.embedded == (DISTINCT if "transpositions" in change else 0)


def test_the_same_pixels_with_other_names_are_known(run: Comparing) -> None:
    run.download()
    run.compare()
    other = Comparing(run.storage.root, run.library, run.fetcher, "other")
    other.offer("z", {f"renamed {number}": draw(number) for number in (4, 2, 0, 1, 3)})
    other.download()
    other.compare()
    assert (other.network.embedded, other.counted) == (0, {"pairs known": 1})
    found = other.find("z", "z")
    assert sorted(found.a.names) == [f"renamed {number}" for number in range(5)]
    ((i, j), *_), mine = zip(found.scores.first, found.scores.second, strict=True), run.find("a", "a")
    assert {found.a.names[i][-1], found.a.names[j][-1]} == {
        mine.a.names[k[0]][0] for k in (mine.scores.first, mine.scores.second)
    }


def test_a_retry_fetches_only_the_failed_images(run: Comparing) -> None:
    run.offer("c", {"good": draw(2), "late": Answer(404)})
    run.download()
    run.compare()
    run.library.answer("/c/1.png", Answer(body=draw(40)))
    run.library.asked.clear()
    run.network.embedded = 0
    run.counted.clear()
    run.download(retries=1)
    run.compare()
    assert run.library.paths == ["/c/1.png"]
    assert (run.network.embedded, run.counted["pairs compared"]) == (1, 3)
    assert run.coverage.documents[2].usable == 2
    assert run.find_best("a", "c")[2] == 1.0
    assert sorted(run.find("c", "c").a.names) == ["good", "late"]
    assert len(list((run.folder.path / "scores").iterdir())) == 6


def test_a_changed_list_drops_the_outcomes_of_removed_images(run: Comparing) -> None:
    run.download()
    records = DocumentRecords.load(run.folder, 1, "a")
    assert records.listing is not None
    records.save_list(replace(records.listing, images=records.listing.images[:2]))
    for known in (records, DocumentRecords.load(run.folder, 1, "a")):
        assert (known.cover().images, known.cover().usable, len(known.order_usable())) == (2, 2, 2)


def test_a_retry_fetches_a_failed_list_again(run: Comparing) -> None:
    run.list_at("c", run.library.answer("/c.json", Answer(404), Answer(body={})))
    run.download()
    url = run.library.answer("/c.png", Answer(body=draw(2)))
    run.library.answer("/c.json", Answer(body={"x": url}))
    run.library.asked.clear()
    run.download(retries=1)
    run.compare()
    assert run.library.paths == ["/c.json", "/c.png"]
    assert "a-c" in run.list_results()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"half")])
def test_an_image_missing_from_the_cache_fails_until_a_retry(run: Comparing, damage: object) -> None:
    run.download()
    records = DocumentRecords.load(run.folder, 1, "a")
    damage(run.sources["a"].cache.folder / str(records.fetched["2.jpg"].file))  # type: ignore[operator]
    run.compare()
    assert [name for name, _ in run.coverage.documents[0].failed] == ["2.jpg"]
    assert "2.jpg" not in run.find("a", "b").a.names
    run.download(retries=1)
    run.compare()
    assert run.find_best("a", "b") == ("2.jpg", "d", 1.0, "none")


def test_consecutive_failures_of_a_host_stop_its_downloads(run: Comparing) -> None:
    # The images of the other documents are on 127.0.0.1, which works.
    run.offer("c", {str(number): Answer(503) for number in range(60)}, host="localhost")
    run.download()
    asked = {path for path in run.library.paths if path.startswith("/c/")}
    assert len(asked) <= 8 + 4
    assert sum("Not fetched" in reason for _, reason in run.coverage.documents[2].failed) == 60 - len(asked)


def test_a_cancelled_job_does_not_wait_for_a_host_that_hangs(run: Comparing) -> None:
    run.offer("c", {str(number): Answer(hang=True) for number in range(3)})
    reports: list[int] = []

    def report(done: int, total: int, coverage: Coverage | None) -> None:
        reports.append(done)
        if len(reports) == 6:
            raise LeaseLost("cancelled")

    with pytest.raises(LeaseLost):
        run.download(report=report)


def test_results_survive_the_retention_of_the_cache(run: Comparing) -> None:
    run.download()
    run.compare()
    for path in run.storage.root.rglob("*"):
        os.utime(path, (0, 0))
    for path in sorted(run.storage.embeddings.rglob("*"), reverse=True):
        os.utime(path, (0, 0))
    assert run.storage.remove_old_comparisons(7) == 2
    assert run.storage.remove_old_images(7) == 9
    assert not list(run.storage.embeddings.iterdir())
    assert not list(run.storage.scores.iterdir())
    assert run.find_best("a", "b") == ("2.jpg", "d", 1.0, "none")


def test_recently_used_embeddings_and_scores_are_kept(run: Comparing) -> None:
    run.download()
    run.compare()
    old = [path for root in (run.storage.embeddings, run.storage.scores) for path in root.rglob("*")]
    for path in old:
        os.utime(path, (0, 0))
    again = run.again("again")
    again.download()
    again.compare()
    assert run.storage.remove_old_comparisons(7) == 0
    assert all(path.exists() for path in old)


def test_a_full_disk_ends_the_download(tmp_path: Path, fetcher: Fetcher) -> None:
    storage = Storage(tmp_path / "data")
    source = MissingSource("a", ImageCache(storage.images("a"), fetcher, None), NoSpace("full"))
    with pytest.raises(NoSpace):
        download({"a": source}, storage.job("job"), DownloadPlan(fetcher.rules), lambda *_: None)
