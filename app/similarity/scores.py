"""The result of comparing two documents, as client apps read it."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.similarity.matching import Matches
from app.similarity.transpositions import Transposition


def format_scores(matches: Matches, names_a: Sequence[str], names_b: Sequence[str]) -> bytes:
    """Return the score file: ``.npy``, an array ``(m, 3)`` of strings, which ``np.load`` reads without pickle.

    Each row is ``score, image name of document a, image name of document b``, best first; ``float(row[0])`` parses.
    """
    rows = [
        (f"{score:.7g}", names_a[first], names_b[second])
        for first, second, score in zip(matches.first, matches.second, matches.scores, strict=True)
    ]
    file = io.BytesIO()
    np.save(file, np.array(rows, dtype=np.str_).reshape(-1, 3), allow_pickle=False)
    return file.getvalue()


def format_scores_json(
    matches: Matches,
    names_a: Sequence[str],
    names_b: Sequence[str],
    urls_a: Sequence[str],
    urls_b: Sequence[str],
    transpositions: Sequence[Transposition],
) -> list[dict[str, Any]]:
    """Return a record a pair, best first."""
    rows = zip(matches.first, matches.second, matches.scores, matches.transpositions, strict=True)
    return [
        {
            "score": float(f"{score:.7g}"),
            "transposition": str(transpositions[transposition]),
            "image_1": {"name": names_a[first], "url": urls_a[first]},
            "image_2": {"name": names_b[second], "url": urls_b[second]},
        }
        for first, second, score, transposition in rows
    ]
