import numpy as np
import pytest
from numpy.typing import NDArray

from app.detection.boxes import compute_iou
from app.training.labelled_page import LabelledPage, TrueBoxes
from app.training.metrics import Evaluation, count_errors, evaluate_pages
from tests.support.labelled_pages import build_page

A, B, C = (0, 0, 100, 100), (200, 0, 300, 100), (400, 0, 500, 100)
NOWHERE = (0, 500, 100, 600)


def about(figure: float | list[float]) -> object:
    """Return a value within 0.01: ultralytics gives an average precision of 0.995 instead of 1 if all are found."""
    return pytest.approx(figure, abs=0.01)


def evaluate(
    *pages: LabelledPage, classes: tuple[str, ...] = ("illustration",), confidence: float = 0.25
) -> Evaluation:
    return evaluate_pages(pages, classes, confidence)


def test_exact_detections_have_perfect_metrics() -> None:
    figures = evaluate(build_page([A, B], [(*A, 0.9), (*B, 0.8)])).overall
    assert (figures.precision, figures.recall) == (1, 1)
    assert (figures.ap50, figures.ap50_95) == (about(1), about(1))


def test_average_precision_is_the_mean_over_101_recalls() -> None:
    # Correct, wrong, correct: precision is 1 up to recall 1/3 (34 values), 2/3 up to recall 2/3 (33 more), then 0.
    page = build_page([A, B, C], [(*A, 0.9), (*NOWHERE, 0.8), (*B, 0.7)])
    figures = evaluate(page).overall
    assert figures.ap50 == about((34 + 33 * 2 / 3) / 101)
    assert figures.precision_at_recall[33] == about(1)
    assert figures.precision_at_recall[34] == about(2 / 3)
    assert figures.precision_at_recall[67] == about(0)


def test_a_box_counts_at_every_threshold_that_its_iou_reaches() -> None:
    # A box of 100 x 130 around one of 100 x 100 has IoU 0.77: correct at 0.5, 0.55 … 0.75, six of ten thresholds.
    figures = evaluate(build_page([A], [(0, 0, 100, 130, 0.9)])).overall
    assert figures.ap50 == about(1)
    assert figures.ap50_95 == about(0.6)


def test_an_iou_of_exactly_one_half_is_enough() -> None:
    assert evaluate(build_page([A], [(0, 0, 100, 50, 0.9)])).overall.ap50 == about(1)
    assert evaluate(build_page([A], [(0, 0, 100, 49, 0.9)])).overall.ap50 == 0


def test_an_illustration_is_matched_once_by_the_most_confident_box() -> None:
    figures = evaluate(build_page([A], [(0, 0, 100, 90, 0.9), (*A, 0.8)])).overall
    assert (figures.found, figures.right) == (2, 1)
    # The most confident box has IoU 0.9: it is correct at nine thresholds. At 0.95 only the second box is correct.
    assert figures.ap50_95 == about((9 + 0.5) / 10)


def test_the_most_confident_box_takes_its_best_match() -> None:
    near = (0, 0, 120, 100)
    page = build_page([A, near], [(0, 0, 119, 100, 0.9), (0, 0, 101, 100, 0.8)])
    figures = evaluate(page).overall
    assert (figures.right, figures.ap50_95) == (2, about(1))


def test_a_box_of_another_class_is_not_a_match() -> None:
    page = build_page([(*A, 1)], [(*A, 0.9, 0)])
    illustrations, ornaments = evaluate(page, classes=("illustration", "ornament")).classes
    assert (illustrations.found, illustrations.right, illustrations.precision) == (1, 0, 0)
    assert (ornaments.illustrations, ornaments.recall, ornaments.ap50) == (1, 0, 0)


def test_boxes_of_different_pages_never_match() -> None:
    figures = evaluate(build_page([A], []), build_page([], [(*A, 0.9)])).overall
    assert (figures.right, figures.precision, figures.recall) == (0, 0, 0)


def test_overall_is_the_mean_of_classes_and_the_sum_of_counts() -> None:
    page = build_page([A, B, (*C, 1)], [(*A, 0.9), (*B, 0.8)])
    evaluation = evaluate(page, classes=("illustration", "ornament", "initial"))
    assert [each.ap50 for each in evaluation.classes] == [about(1), 0, None]
    assert evaluation.overall.ap50 == about(0.5)
    assert (evaluation.overall.precision, evaluation.overall.recall) == (1, pytest.approx(2 / 3))


def test_precision_and_recall_depend_on_the_confidence() -> None:
    page = build_page([A, B], [(*A, 0.9), (*NOWHERE, 0.5), (*B, 0.3)])
    figures = [evaluate(page, confidence=confidence).overall for confidence in (0.6, 0.5, 0.3)]
    assert [(each.precision, each.recall) for each in figures] == [(1, 0.5), (0.5, 0.5), (pytest.approx(2 / 3), 1)]
    assert len({each.ap50 for each in figures}) == 1


def test_the_curve_and_the_best_confidence_are_computed() -> None:
    page = build_page([A, B], [(*A, 0.9), (*B, 0.7), (*NOWHERE, 0.5)])
    evaluation = evaluate(page)
    assert evaluation.best_confidence == pytest.approx(0.7)
    at = {point.confidence: (point.precision, point.recall) for point in evaluation.curve}
    assert len(at) == 101
    assert at[0.0] == (pytest.approx(2 / 3), 1)
    assert at[0.7] == (1, 1)
    assert at[0.71] == (1, 0.5)
    assert at[1.0] == (None, 0)


def test_boxes_with_equal_confidence_are_counted_together() -> None:
    # A and B alone would give the best F1, but a threshold of 0.5 also keeps the four wrong boxes.
    evaluation = evaluate(build_page([A, B], [(*A, 0.9), (*B, 0.5), *[(*NOWHERE, 0.5)] * 4]))
    assert evaluation.best_confidence == pytest.approx(0.9)


def test_undefined_metrics_are_none() -> None:
    nothing, empty = evaluate(), evaluate(build_page([], []))
    assert (nothing.pages, empty.pages, empty.empty_pages) == (0, 1, 1)
    for evaluation in (nothing, empty):
        figures = evaluation.overall
        assert (figures.precision, figures.recall, figures.ap50, figures.ap50_95) == (None,) * 4
        assert evaluation.best_confidence is None
        assert evaluation.as_json()["overall"]["ap50"] is None


def test_errors_are_false_positives_and_missed_illustrations() -> None:
    page = build_page([A, B], [(*A, 0.9), (*NOWHERE, 0.5), (*B, 0.1)])
    assert count_errors(page, 0.25) == 2
    assert count_errors(page, 0.05) == 1


def test_the_reported_best_confidence_keeps_its_own_box() -> None:
    page = build_page([A], [(*A, 0.56789)])
    best = evaluate(page).as_json()["best_confidence"]
    assert evaluate(page, confidence=best).overall.recall == 1


def draw_lots(seed: int, pages: int, classes: int) -> list[LabelledPage]:
    """Return random pages with accurate, inaccurate, duplicate and wrong detections."""
    lots, drawn = np.random.default_rng(seed), []
    for _ in range(pages):
        corner = lots.uniform(0, 800, (lots.integers(0, 8), 2))
        true = np.concatenate([corner, corner + lots.uniform(30, 200, corner.shape)], axis=1)
        class_id = lots.integers(0, classes, len(true))
        copies = lots.integers(0, len(true), 12) if len(true) else np.zeros(0, dtype=int)
        shaken = true[copies] + lots.normal(0, 12, (len(copies), 4))
        wrong = lots.uniform(0, 800, (3, 2))
        found = np.concatenate([shaken, np.concatenate([wrong, wrong + 90], axis=1)])
        ids = np.concatenate([class_id[copies], lots.integers(0, classes, 3)])
        rows = np.column_stack([found, lots.uniform(0.01, 1, len(found)), ids])
        page = build_page([], rows.tolist())
        drawn.append(LabelledPage("", page.size, TrueBoxes(true, class_id), page.found))
    return drawn


def match_one_by_one(page: LabelledPage) -> NDArray[np.bool_]:
    """Return which detections of a page are correct at IoU 0.5, by a plain loop over the detections."""
    free, right = np.ones(len(page.true), dtype=bool), np.zeros(len(page.found), dtype=bool)
    if not len(page.true):
        return right
    overlaps = compute_iou(page.found.xyxy, page.true.xyxy)
    overlaps[page.found.class_id[:, None] != page.true.class_id[None]] = 0
    for row in np.argsort(-page.found.confidence, kind="stable"):
        candidates = np.where(free, overlaps[row], 0)
        if candidates.max() >= 0.5:
            free[candidates.argmax()] = False
            right[row] = True
    return right


@pytest.mark.parametrize("seed", range(5))
def test_batch_matching_equals_matching_one_by_one(seed: int) -> None:
    pages = draw_lots(seed, 20, 2)
    figures = evaluate(*pages, classes=("a", "b"), confidence=0).overall
    assert figures.right == sum(match_one_by_one(page).sum() for page in pages)


def interpolate(pages: list[LabelledPage], class_id: int) -> float:
    """Return COCO's average precision at IoU 0.5: the mean over 101 recalls of the best precision at that recall."""
    right = np.concatenate([match_one_by_one(page)[page.found.class_id == class_id] for page in pages])
    confidence = np.concatenate([page.found.confidence[page.found.class_id == class_id] for page in pages])
    hits = right[np.argsort(-confidence, kind="stable")].cumsum()
    recall = hits / sum((page.true.class_id == class_id).sum() for page in pages)
    precision = hits / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[recall >= least].max(initial=0) for least in np.linspace(0, 1, 101)]))


def test_average_precision_is_within_0_01_of_that_of_coco() -> None:
    pages = draw_lots(0, 150, 3)
    figures = [each.ap50 for each in evaluate(*pages, classes=("a", "b", "c")).classes]
    assert figures == about([interpolate(pages, class_id) for class_id in range(3)])
    assert all(0.2 < figure < 0.95 for figure in figures if figure)
