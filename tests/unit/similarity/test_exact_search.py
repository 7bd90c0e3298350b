import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.similarity import exact_search
from app.similarity.exact_search import SKETCH, Hit, find_best, sketch_rows

CPU = torch.device("cpu")


def draw_rows(count: int, seed: int, length: int = 24) -> NDArray[np.float16]:
    rows = np.random.default_rng(seed).standard_normal((count, length), dtype=np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("chunk", [24, 100, 1 << 20])
def test_the_best_rows_of_all_arrays_are_those_of_a_full_sort(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_search, "_CHUNK_NUMBERS", chunk)
    arrays = [draw_rows(count, seed) for seed, count in enumerate((7, 0, 30, 1, 0))]
    query = draw_rows(2, 9)
    hits = find_best(query, arrays, 10, CPU)
    scores = np.concatenate(arrays).astype(np.float32) @ query.astype(np.float32).T
    places = [(array, row) for array, rows in enumerate(arrays) for row in range(len(rows))]
    best = np.argsort(-scores.max(1))[:10]
    assert [(hit.array, hit.row) for hit in hits] == [places[place] for place in best]
    assert [hit.score for hit in hits] == pytest.approx(scores.max(1)[best].tolist(), abs=1e-5)
    assert [hit.transposition for hit in hits] == scores.argmax(1)[best].tolist()


def test_fewer_rows_than_wanted_are_all_returned() -> None:
    rows = draw_rows(2, 0)
    assert find_best(rows[:1], [rows], 5, CPU)[0] == Hit(0, 0, pytest.approx(1, abs=1e-3), 0)
    assert len(find_best(rows[:1], [rows], 5, CPU)) == 2
    assert find_best(rows[:1], [], 5, CPU) == []


@pytest.mark.parametrize("length", [5000, 25_088])
def test_sketches_keep_the_products_of_long_rows(length: int) -> None:
    base = np.abs(draw_rows(1, 0, length).astype(np.float32))
    rows = base * np.random.default_rng(1).uniform(0, 1, (20, length))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    sketches = sketch_rows(rows)
    assert sketches.shape == (20, SKETCH)
    exact, found = (each.astype(np.float32) @ each.astype(np.float32).T for each in (rows, sketches))
    assert np.abs(found - exact).max() < 0.2
    assert np.abs(found - exact).mean() < 0.05


def test_stored_sketches_stay_valid() -> None:
    (sketch,) = sketch_rows(np.arange(5000, dtype=np.float16)[None] / np.float16(5000))
    assert sketch[:4].tolist() == pytest.approx([-1.2285, 0.4094, -0.4089, -1.2305], abs=2e-3)
