"""Faults of the labels in the pages that the default weights are trained on and measured with.

The rule, which tells illustrations from other things, is in models/illustrations.md. Labels that contradict it were
found by looking at the pages on which the weights and the labels disagree. Such pages or labels are left out, in
training and in figures.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# Beginnings of file names, and what is wrong with the labels of these pages.
EXCLUDED: Mapping[str, str] = {
    "cremma_bnf_fr_844": "line fillers and decorated initials are labelled",
    "print17_bpt6k1110784_f2.": "the engraved title page is not labelled",
    "print17_bpt6k56119308_f2.": "the headpiece is not labelled",
    "print17_bpt6k111525t_f9.": "a decorated initial is labelled",
}
# In these documents, decorated initials are labelled. They are the labels whose sides are both below this share of the
# page; every illustration there is larger.
WITH_INITIALS = ("incunable15_bpt6k1057726c", "incunable15_bpt6k324358v", "incunable15_btv1b8626772v")
LARGEST_INITIAL = 0.065


def is_excluded(name: str) -> bool:
    """Return whether a page is left out, by the name of its image file."""
    return name.startswith(tuple(EXCLUDED))


def find_faults(name: str, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which labels of a page contradict the definition, ``(n,)``.

    Args:
        name: Name of the image file.
        boxes: ``(n, 4)`` centres and sizes, relative to the size of the page.
    """
    if not name.startswith(WITH_INITIALS):
        return np.zeros(len(boxes), dtype=bool)
    return np.asarray((boxes[:, 2:] < LARGEST_INITIAL).all(axis=1))
