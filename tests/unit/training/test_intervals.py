import numpy as np
import pytest

from app.training.intervals import MOST_CLASSES, add_intervals, name_document
from app.training.labelled_page import LabelledPage
from app.training.metrics import METRICS, Evaluation, evaluate_pages
from tests.support.labelled_pages import build_page

A = (0, 0, 100, 100)
NOWHERE = (0, 500, 100, 600)
HIT, MISS = [(*A, 0.9)], [(*NOWHERE, 0.9)]


def name_pages(pages: list[LabelledPage], names: list[str]) -> list[LabelledPage]:
    return [LabelledPage(name, page.size, page.true, page.found) for page, name in zip(pages, names, strict=True)]


def evaluate(pages: list[LabelledPage], classes: tuple[str, ...] = ("illustration",)) -> Evaluation:
    return add_intervals(evaluate_pages(pages, classes, 0.25), pages)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("ms1_0001.jpg", "ms1"),
        ("print16_bpt6k1514025q_f21.jpg", "print16_bpt6k1514025q"),
        ("print18_btv1b8613380t_f29.tif.jpg", "print18_btv1b8613380t"),
        ("boccace__genealogie-page-006.jpg", "boccace__genealogie"),
        ("nls-107125354__107125354.3.jpg", "nls-107125354__107125354"),
        ("0001.jpg", ""),
        ("title page.jpg", "title page"),
    ],
)
def test_the_document_is_the_file_name_without_the_number_of_the_page(name: str, document: str) -> None:
    assert name_document(name) == document


def test_every_metric_lies_within_its_interval() -> None:
    found = [HIT if place % 3 else MISS for place in range(30)]
    pages = name_pages([build_page([A], each) for each in found], [f"ms{place}_1.jpg" for place in range(30)])
    figures = evaluate(pages).overall
    assert set(figures.intervals) == set(METRICS)
    for name in METRICS:
        low, high = figures.intervals[name]
        assert low <= getattr(figures, name) <= high
        assert low < high


def test_the_interval_of_a_rate_is_about_as_wide_as_the_binomial_one() -> None:
    rng = np.random.default_rng(1)
    found = [HIT if hit else [] for hit in rng.random(200) < 0.7]
    figures = evaluate(
        name_pages([build_page([A], each) for each in found], [f"ms{n}_1.jpg" for n in range(200)])
    ).overall
    low, high = figures.intervals["recall"]
    assert high - low == pytest.approx(2 * 1.96 * (0.7 * 0.3 / 200) ** 0.5, rel=0.2)


def test_pages_of_a_document_are_drawn_together() -> None:
    # Two documents, one all right and one all wrong: a draw of documents can be all wrong, a draw of 40 pages cannot.
    pages = [build_page([A], HIT)] * 20 + [build_page([A], MISS)] * 20
    together = evaluate(name_pages(pages, [f"{'ab'[n // 20]}_{n}.jpg" for n in range(40)]))
    apart = evaluate(name_pages(pages, [f"{n}.jpg" for n in range(40)]))
    assert together.documents == 2
    assert together.overall.intervals["recall"] == (0, 1)
    assert apart.documents == 0
    assert apart.overall.intervals["recall"][0] > 0.2


def test_one_page_has_no_intervals() -> None:
    evaluation = evaluate([build_page([A], HIT)])
    assert evaluation.overall.intervals == {}


def test_a_metric_that_is_never_defined_has_no_interval() -> None:
    figures = evaluate([build_page([], []), build_page([], [])]).overall
    assert figures.intervals == {}


def test_very_many_classes_have_no_intervals() -> None:
    classes = tuple(map(str, range(MOST_CLASSES + 1)))
    assert evaluate([build_page([A], HIT)] * 2, classes).overall.intervals == {}


def test_equal_pages_give_equal_intervals() -> None:
    pages = name_pages([build_page([A], HIT), build_page([A], MISS)], ["a_1.jpg", "b_1.jpg"])
    assert evaluate(pages) == evaluate(pages)
