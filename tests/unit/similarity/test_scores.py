import io

import numpy as np
import pytest

from app.similarity.matching import Matches
from app.similarity.scores import (
    ComparedDocument,
    Scores,
    format_scores,
    pack_scores,
    unpack_scores,
)

A = ComparedDocument(
    "a", "1", ["a1.jpg", "é\U0001d11e.jpg"], ["https://a.example/1", "https://a.example/2"], [], [], []
)
B = ComparedDocument("b", "2", ["b1.jpg"], ["https://b.example/1"], [], [], [])


def build_matches(*rows: tuple[int, int, float, int]) -> Matches:
    first, second, scores, transpositions = zip(*rows, strict=True) if rows else ((), (), (), ())
    kinds = (first, np.int64), (second, np.int64), (scores, np.float32), (transpositions, np.int64)
    return Matches(*(np.array(values, dtype=kind) for values, kind in kinds))


def test_scores_survive_packing_and_unpacking() -> None:
    found = unpack_scores(pack_scores(build_matches((1, 0, 0.75, 1), (70_000, 3, -0.5, 0))))
    assert found == Scores(*map(type(found.first), ("i", "i", "f", "B"), ([1, 70_000], [0, 3], [0.75, -0.5], [1, 0])))


@pytest.mark.parametrize("rows", [[], [(1, 0, 0.1234567, 0)], [(1, 0, 1.0, 0), (0, 0, -0.25, 1)]])
def test_the_npy_file_equals_that_of_numpy(rows: list[tuple[int, int, float, int]]) -> None:
    data = format_scores(unpack_scores(pack_scores(build_matches(*rows))), A, B)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    expected = [(f"{score:.7g}", A.names[i], B.names[j]) for i, j, score, _ in rows]
    assert array.shape == (len(rows), 3)
    assert [tuple(row) for row in array.tolist()] == expected
    assert [float(row[0]) for row in array] == pytest.approx([row[2] for row in rows])
    if rows:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        assert file.getvalue() == data
