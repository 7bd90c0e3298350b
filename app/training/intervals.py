"""95 % intervals of the metrics of an evaluation: the percentile bootstrap over documents.

B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Pages of a document resemble each other,
so documents are drawn, with all their pages. If all pages are of one document, pages are drawn; the intervals then say
nothing about other documents.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath

import numpy as np

from app.training.labelled_page import LabelledPage
from app.training.metrics import METRICS, ClassFigures, Evaluation, Interval, Matches, match_page, measure_classes

RESAMPLES = 400
# A resample takes milliseconds for each class: with more classes than this, intervals would take minutes.
MOST_CLASSES = 50
# The number of a page at the end of a file name, such as ``_f12``, ``-page-006`` or ``.3``, and what follows it.
_PAGE_NUMBER = re.compile(r"([^0-9A-Za-z]+(page|[A-Za-z]{1,2})?[^0-9A-Za-z]*|^(page|[A-Za-z]{0,2}))\d+\D*$")


def name_document(image_name: str) -> str:
    """Return the document of a page: its file name without the number of the page; empty if nothing else remains."""
    return _PAGE_NUMBER.sub("", PurePath(image_name).stem)


def add_intervals(
    evaluation: Evaluation, pages: Sequence[LabelledPage], tick: Callable[[], None] = lambda: None
) -> Evaluation:
    """Return an evaluation with the 95 % intervals of its metrics; unchanged if there are too few pages.

    A metric that is undefined in some of the resamples has the interval of the others.

    Args:
        evaluation: Metrics of the pages.
        pages: The same pages. Their file names tell to which document they belong.
        tick: Called after every tenth resample. If it raises, the computation stops.
    """
    names, (groups, documents) = [each.name for each in evaluation.classes], _group(pages)
    if len(groups) < 2 or len(names) > MOST_CLASSES:
        return evaluation
    rng = np.random.default_rng(0)
    samples = []
    for number in range(RESAMPLES):
        picked = rng.integers(0, len(groups), len(groups)).tolist()
        matches = Matches.join([page for place in picked for page in groups[place]])
        samples.append(measure_classes(matches, names, evaluation.confidence))
        if number % 10 == 0:
            tick()
    overall, *classes = (
        replace(figures, intervals=_find_intervals([sample[row] for sample in samples]))
        for row, figures in enumerate((evaluation.overall, *evaluation.classes))
    )
    return replace(evaluation, overall=overall, classes=tuple(classes), documents=documents)


def _group(pages: Sequence[LabelledPage]) -> tuple[list[list[Matches]], int]:
    """Return the pages in groups that are drawn as a whole, and the number of documents; 0 if pages are drawn."""
    documents: dict[str, list[Matches]] = defaultdict(list)
    for page in pages:
        documents[name_document(page.image_name)].append(match_page(page))
    if len(documents) > 1:
        return list(documents.values()), len(documents)
    return [[page] for group in documents.values() for page in group], 0


def _find_intervals(samples: Sequence[ClassFigures]) -> dict[str, Interval]:
    intervals = {}
    for name in METRICS:
        values = [value for each in samples if (value := getattr(each, name)) is not None]
        if values:
            low, high = np.percentile(values, (2.5, 97.5)).tolist()
            intervals[name] = (low, high)
    return intervals
