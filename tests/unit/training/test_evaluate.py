import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from app.detection.detector import Detector
from app.errors import RequestError
from app.images.overlays import FOUND, TRUE
from app.training import comparison
from app.training.datasets import Dataset
from app.training.evaluate import EVALUATION_CONFIG, evaluate
from app.training.metrics import Evaluation
from tests.support.labelled_pages import build_dataset, draw_page, read_report
from tests.support.rectangle_finder import RectangleFinder

BOX = (120, 160, 360, 400)
# The average precision of ultralytics is 0.995 when all boxes are found.
PERFECT = pytest.approx(1, abs=0.01)


@pytest.fixture
def detector() -> Detector:
    """Return a detector of the dark rectangle of a page, with class illustration and confidence 0.9."""
    return Detector(RectangleFinder(), replace(EVALUATION_CONFIG, batch_size=2, device="cpu"))  # type: ignore[arg-type]


def run(detector: Detector, dataset: Dataset, folder: Path, confidence: float = 0.25) -> Evaluation:
    return evaluate(detector, dataset, "test", folder, lambda done, total: None, confidence)


def list_images(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))


def test_report_curve_and_images_are_written(detector: Detector, tmp_path: Path) -> None:
    pages = {"found.png": [BOX], "empty.png": [], "two.jpg": [BOX]}
    dataset, folder = build_dataset(tmp_path / "data", pages), tmp_path / "out"
    evaluation = run(detector, dataset, folder)
    assert (evaluation.pages, evaluation.empty_pages, evaluation.drawn) == (3, 1, 3)
    assert (evaluation.overall.precision, evaluation.overall.recall) == (1, 1)
    assert evaluation.overall.ap50_95 == PERFECT
    assert read_report(folder) == json.loads(json.dumps(evaluation.as_json()))
    assert list_images(folder) == ["images-without-truth/empty.jpg", "images/found.jpg", "images/two.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "curve.png",
        "images",
        "images-without-truth",
        "report.json",
    ]


def test_the_images_show_ground_truth_and_detections(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"a.png": [(400, 600, 500, 700)]})
    draw_page(dataset.folder / "images" / "test" / "a.png", (600, 800), [BOX])
    run(detector, dataset, tmp_path / "out")
    with Image.open(tmp_path / "out" / "images" / "a.jpg") as image:
        assert near(image.getpixel((401, 650)), TRUE)
        assert near(image.getpixel((120, 280)), FOUND)


def near(colour: object, other: tuple[int, int, int]) -> bool:
    assert isinstance(colour, tuple)
    return max(abs(a - b) for a, b in zip(colour, other, strict=True)) < 60


def test_detections_below_the_confidence_are_not_counted_or_drawn(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"a.png": [BOX]})
    evaluation = run(detector, dataset, tmp_path / "out", confidence=0.95)
    assert (evaluation.overall.found, evaluation.overall.recall, evaluation.overall.ap50) == (0, 0, PERFECT)
    with Image.open(tmp_path / "out" / "images" / "a.jpg") as image:
        assert not any(near(colour, FOUND) for _, colour in image.crop((0, 0, 600, 800)).getcolors(1_000_000) or [])


def test_every_batch_is_reported_and_can_stop_the_evaluation(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {f"{number}.png": [BOX] for number in range(5)})
    reported: list[tuple[int, int]] = []
    evaluate(detector, dataset, "test", tmp_path / "out", lambda *counts: reported.append(counts))
    assert reported[:3] == [(2, 5), (4, 5), (5, 5)]
    assert reported[3:] == [(5, 5)] * 40  # the intervals

    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(detector, dataset, "test", tmp_path / "other", cancel)
    assert not (tmp_path / "other").exists()


def test_an_evaluation_replaces_the_previous_one(detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(detector, build_dataset(tmp_path / "one", {"old.png": [BOX], "old-empty.png": []}), folder)
    (folder / ".new" / "images").mkdir(parents=True)
    (folder / ".new" / "images" / "left-by-a-crash.jpg").touch()
    run(detector, build_dataset(tmp_path / "two", {"new.png": [BOX]}), folder)
    assert list_images(folder) == ["images/new.jpg"]
    assert read_report(folder)["pages"] == 1
    assert not (folder / ".new").exists()


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"<html>"])
def test_an_unreadable_page_is_reported_and_skipped(detector: Detector, content: bytes, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"bad.png": [BOX], "good.png": [BOX]})
    (dataset.folder / "images" / "test" / "bad.png").write_bytes(content)
    evaluation = run(detector, dataset, tmp_path / "out")
    assert (evaluation.pages, evaluation.overall.illustrations, evaluation.overall.ap50) == (1, 1, PERFECT)
    (page,) = evaluation.unreadable
    assert page.image_name == "bad.png"
    assert page.reason.startswith("The page cannot be read")
    assert str(tmp_path) not in json.dumps(read_report(tmp_path / "out"))


def test_truncated_pages_and_broken_labels_count_as_unreadable(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"a.jpg": [BOX], "b.jpg": [BOX], "c.jpg": [BOX]})
    page = dataset.folder / "images" / "test" / "a.jpg"
    page.write_bytes(page.read_bytes()[:2000])
    (dataset.folder / "labels" / "test" / "b.txt").write_text("0 0.5 0.5 0.1\n")
    evaluation = run(detector, dataset, tmp_path / "out")
    assert [each.image_name for each in evaluation.unreadable] == ["a.jpg", "b.jpg"]
    assert evaluation.pages == 1


def test_pages_with_errors_are_drawn_first(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_PAGES", 2)
    pages = {"a.png": [BOX], "b.png": [BOX, (10, 10, 20, 20)], "c.png": [], "d.png": [BOX], "e.png": []}
    dataset = build_dataset(tmp_path / "data", pages)
    draw_page(dataset.folder / "images" / "test" / "b.png", (600, 800), [BOX])
    draw_page(dataset.folder / "images" / "test" / "e.png", (600, 800), [BOX])
    evaluation = run(detector, dataset, tmp_path / "out")
    assert (evaluation.pages, evaluation.drawn) == (5, 2)
    assert list_images(tmp_path / "out") == ["images-without-truth/e.jpg", "images/b.jpg"]


def test_large_scans_are_drawn_reduced_with_scaled_boxes(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"a.jpg": [BOX]})
    # Labels are fractions of the page, so they also fit a scan of six times the size.
    big = [tuple(6 * edge for edge in BOX)]
    draw_page(dataset.folder / "images" / "test" / "a.jpg", (3601, 4803), big)  # type: ignore[arg-type]
    evaluation = run(detector, dataset, tmp_path / "out")
    assert evaluation.overall.average_precisions[:9] == [PERFECT] * 9
    with Image.open(tmp_path / "out" / "images" / "a.jpg") as image:
        assert image.size == (1200, 1600 + 81)  # with the legend
        assert near(image.getpixel((241, 560)), FOUND)
        assert near(image.getpixel((246, 560)), TRUE)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_rotated_page_is_evaluated_upright(detector: Detector, orientation: int, suffix: str, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {f"a{suffix}": [BOX]})
    path = dataset.folder / "images" / "test" / f"a{suffix}"
    turn: Callable[[Image.Image], Image.Image] = {
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    with Image.open(path) as image:
        turned, exif = turn(image), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned.save(path, exif=exif)
    evaluation = run(detector, dataset, tmp_path / "out")
    assert evaluation.overall.ap50 == PERFECT
    with Image.open(tmp_path / "out" / "images" / "a.jpg") as image:
        assert image.width == 600


def test_classes_match_by_name_and_others_are_reported(detector: Detector, tmp_path: Path) -> None:
    pages = {"a.png": [(*BOX, 1)], "b.png": [(*BOX, 0)]}
    dataset = build_dataset(tmp_path / "data", pages, classes=("Initial", "Illustration"))
    evaluation = run(detector, dataset, tmp_path / "out")
    assert (evaluation.ignored_classes, evaluation.missing_classes) == (("ornament",), ("Initial",))
    initial, illustration = evaluation.classes
    assert (initial.recall, illustration.recall, illustration.precision) == (0, 1, 0.5)
    report = read_report(tmp_path / "out")
    assert (report["ignored_classes"], report["missing_classes"]) == (["ornament"], ["Initial"])


def test_detections_of_unlabelled_classes_are_ignored(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"a.png": [BOX]}, classes=("ornament",))
    evaluation = run(detector, dataset, tmp_path / "out")
    assert (evaluation.overall.found, evaluation.ignored_classes) == (0, ("illustration",))


def test_unrelated_weights_and_a_missing_split_are_rejected(detector: Detector, tmp_path: Path) -> None:
    dataset = build_dataset(tmp_path / "data", {"a.png": [BOX]}, classes=("cat",))
    with pytest.raises(RequestError, match=r"illustration, ornament.*cat"):
        run(detector, dataset, tmp_path / "out")
    with pytest.raises(RequestError, match="val"):
        evaluate(detector, dataset, "val", tmp_path / "out", lambda done, total: None)
