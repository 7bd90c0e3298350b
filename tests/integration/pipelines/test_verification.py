"""The verification of the best matches of a similarity job."""

import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from app.errors import FetchError, LeaseLost
from app.iiif.fetch import Fetcher
from app.pipelines.similarity import pair_verifier
from app.pipelines.similarity.documents import Coverage
from app.similarity.verification import LocalFeatures
from app.similarity.verified_pairs import Verdict, Verification
from tests.support.comparing import Comparing, draw
from tests.support.library import Library


@pytest.fixture
def library(open_library: Library) -> Library:
    open_library.forget()
    return open_library


@pytest.fixture
def run(tmp_path: Path, library: Library, fetcher: Fetcher) -> Comparing:
    """Two documents. Image 0 of b is the same file as image 0 of a; image 1 is a reduced copy of image 1."""
    run = Comparing(tmp_path / "data", library, fetcher)
    run.verify = 3
    run.offer("a", {str(number): draw(number, (240, 240)) for number in range(5)})
    run.offer("b", {"0": draw(0, (240, 240)), "1": draw(1, (180, 180)), "2": draw(20), "3": draw(21)})
    return run


def find_verified(run: Comparing, a: str, b: str) -> dict[tuple[str, str], Verdict]:
    found = run.result.load_verified((a, b))
    assert found is not None
    return {(found.a.names[each.first], found.b.names[each.second]): each.verification.verdict for each in found.pairs}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replace the verification of a pair by a fast one. The list has an entry for each call."""
    calls: list[object] = []

    def verify(first: LocalFeatures, second: LocalFeatures) -> Verification:
        calls.append(first)
        return Verification(Verdict.NONE, inliers=len(first.points))

    monkeypatch.setattr(pair_verifier, "verify", verify)
    return calls


def test_the_best_matches_of_both_directions_are_verified(run: Comparing) -> None:
    run.download()
    run.compare()
    found = find_verified(run, "a", "b")
    assert 3 * 5 <= len(found) <= 3 * 5 + 3 * 4
    assert (found["0", "0"], found["1", "1"]) == (Verdict.SAME, Verdict.SAME)
    assert {pair for pair, verdict in found.items() if verdict is Verdict.SAME} == {("0", "0"), ("1", "1")}
    assert run.reports[-1][0] == run.reports[-1][1]
    assert run.counted["image_pairs verified"] == sum(
        len(each.pairs) for each in run.result.list_verified(tuple(Verdict))
    )


def test_regions_are_in_pixels_of_the_full_size_image(run: Comparing) -> None:
    run.download()
    run.compare()
    found = run.result.load_verified(("a", "b"), [Verdict.SAME])
    assert found is not None
    by_name = {found.a.names[each.first]: each.verification for each in found.pairs}
    same, reduced = by_name["0"], by_name["1"]
    assert (same.probability, same.region_1, same.region_2) == (1.0, (0, 0, 240, 240), (0, 0, 240, 240))
    assert same.inliers > 0
    assert reduced.region_2 is not None
    assert reduced.region_2[2] <= 180
    assert reduced.transform is not None
    assert reduced.transform[0] == pytest.approx(0.75, abs=0.05)
    assert found.a.sizes == [[240, 240]] * 5
    assert run.storage.cached_image(found.a.files[0]).exists()


def test_nothing_is_verified_without_the_option(run: Comparing) -> None:
    run.verify = 0
    run.download()
    run.compare()
    assert run.result.load_verified(("a", "b")) is None
    assert list(run.result.list_verified()) == []
    assert not run.storage.features.exists()


def test_a_killed_verification_resumes_at_its_chunk(
    run: Comparing, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_verifier, "CHUNK", 2)
    monkeypatch.setattr("app.pipelines.similarity.comparison.REPORT_SECONDS", 0)
    run.download()

    def kill_after(number: int) -> object:
        def report(done: int, total: int, coverage: Coverage | None) -> None:
            if len(calls) >= number:
                raise LeaseLost("killed")

        return report

    for number in (6, 16):
        with pytest.raises(LeaseLost):
            run.compare(report=kill_after(number))
        assert list(run.storage.scores.rglob("*.verified-part"))
    (part,) = run.storage.scores.rglob("*.verified-part")
    part.write_bytes(part.read_bytes() + b"half a row")
    run.compare()
    resumed = len(calls)
    found = find_verified(run, "a", "b")
    calls.clear()
    shutil.rmtree(run.storage.scores)
    again = run.again("again")
    again.verify = run.verify
    again.download()
    again.compare()
    assert find_verified(again, "a", "b") == found
    # Each kill loses at most the chunks that the two threads are at work on, and those that are not written yet.
    assert len(calls) <= resumed <= len(calls) + 2 * 3 * 2
    assert not list(run.storage.scores.rglob("*.verified-part"))


def test_a_new_document_costs_only_itself_and_its_pairs(run: Comparing, calls: list[object]) -> None:
    run.download()
    run.compare()
    features = {path: path.stat().st_ino for path in run.storage.features.rglob("*.npz")}
    before = run.counted["image_pairs verified"]
    more = run.again("more")
    more.verify = run.verify
    more.offer("new", {"x": draw(1, (240, 240)), "y": draw(51)})
    calls.clear()
    more.download()
    more.compare()
    assert more.counted["image_pairs known"] == before
    pairs = [more.result.load_verified(pair) for pair in (("a", "new"), ("b", "new"), ("new", "new"))]
    assert more.counted["image_pairs verified"] == sum(len(each.pairs) for each in pairs if each)
    assert len(calls) == more.counted["image_pairs verified"] - 1  # one pair has the same file
    after = {path: path.stat().st_ino for path in run.storage.features.rglob("*.npz")}
    assert (features.items() <= after.items(), len(after)) == (True, len(features) + 1)


def test_copies_of_one_file_are_verified_once(run: Comparing, calls: list[object]) -> None:
    run.verify = 10
    run.offer("c", {str(number): draw(1, (240, 240)) for number in range(40)})
    run.offer("d", {str(number): draw(2, (240, 240)) for number in range(40)})
    run.download()
    run.compare()
    found = run.result.load_verified(("c", "d"))
    assert found is not None
    assert len(found.pairs) >= 400
    assert len({each.verification for each in found.pairs}) == 1
    within = find_verified(run, "c", "c")
    assert set(within.values()) == {Verdict.SAME}
    assert len(calls) < 60  # c and d with each other, and with the few images of a and b


def test_images_without_structure_get_a_verdict(run: Comparing) -> None:
    def fill(size: tuple[int, int], colour: str) -> bytes:
        body = io.BytesIO()
        Image.new("RGB", size, colour).save(body, "PNG")
        return body.getvalue()

    run.verify = 10
    run.offer("e", {"blank": fill((300, 300), "white"), "tiny": fill((20, 20), "black"), "dot": fill((1, 1), "red")})
    run.download()
    run.compare()
    found = find_verified(run, "a", "e") | find_verified(run, "e", "e")
    assert {name for pair in found for name in pair} >= {"blank", "tiny", "dot"}
    assert set(found.values()) == {Verdict.NONE}


@pytest.mark.usefixtures("calls")
def test_an_image_that_is_gone_fails_and_the_others_are_verified(run: Comparing) -> None:
    run.download()
    lost = next(iter(run.sources["a"].cache.folder.glob("*.image")))
    lost.unlink()
    run.compare()
    (failed,) = run.coverage.documents[0].failed
    assert "retry the job" in failed[1]
    assert run.coverage.documents[0].usable == 4
    assert len(find_verified(run, "a", "a")) == 4 * 3 / 2


@pytest.mark.usefixtures("calls")
def test_images_removed_during_the_verification_fail_the_job(run: Comparing) -> None:
    run.download()

    def report(done: int, total: int, coverage: Coverage | None) -> None:
        if list(run.storage.scores.rglob("*.scores")):
            shutil.rmtree(run.storage.features, ignore_errors=True)
            shutil.rmtree(run.storage.root / "images", ignore_errors=True)

    with pytest.raises(FetchError, match="retry the job"):
        run.compare(report=report)


@pytest.mark.usefixtures("calls")
def test_other_parameters_are_verified_again_with_stored_features(run: Comparing) -> None:
    run.download()
    run.compare()
    again = run.again("again")
    again.verify = 2
    shutil.rmtree(run.storage.root / "images")
    again.download()
    for path in run.storage.features.rglob("*.npz"):
        os.utime(path, (0, 0))
    again.compare()
    assert again.counted.keys() >= {"pairs known", "image_pairs verified"}
    assert run.storage.remove_old_comparisons(7) == 0
    assert len(list(run.storage.features.rglob("*.npz"))) == 8


@pytest.mark.usefixtures("calls")
def test_results_survive_the_retention_of_the_cache(run: Comparing) -> None:
    run.download()
    run.compare()
    found = find_verified(run, "a", "b")
    for root in (run.storage.features, run.storage.scores, run.storage.embeddings):
        for path in sorted(root.rglob("*"), reverse=True):
            os.utime(path, (0, 0))
    run.storage.remove_old_comparisons(7)
    assert [*run.storage.features.iterdir(), *run.storage.scores.iterdir()] == []
    assert find_verified(run, "a", "b") == found
