"""Tiled matching gives the same matches as the full similarity matrix."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.devices import free_memory
from app.similarity import matching
from app.similarity.matching import MatchConfig, Matches, match, match_within
from app.similarity.tiled_products import Product, TiledProducts

Array = NDArray[np.float32]
Pairs = dict[tuple[int, int], tuple[float, int]]


def embed(*shape: int, seed: int = 0) -> Array:
    """Return random embeddings ``(…, n, d)``."""
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def draw_equal(*shape: int, seed: int = 0) -> Array:
    """Return vectors with many duplicates and exact products, so that scores often tie."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32) / 2


def find_best(scores: Array, topk: int) -> set[tuple[int, int]]:
    """Return (row, column) of the best scores of each row; on ties, the first column wins."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :topk]
    return {(row, int(column)) for row in range(len(scores)) for column in order[row]}


def match_in_full(first: Array, second: Array, topk: int) -> Pairs:
    """Return the expected result of :func:`match`, computed from the full matrices."""
    products = np.stack([turned.astype(np.float64) @ second.T.astype(np.float64) for turned in first])
    scores, codes = products.max(0), products.argmax(0)
    pairs = find_best(scores, topk) | {(row, column) for column, row in find_best(scores.T, topk)}
    return {pair: (scores[pair], int(codes[pair])) for pair in pairs}


def match_within_in_full(images: Array, topk: int) -> dict[tuple[int, int], float]:
    """Return the expected pairs of :func:`match_within`, smaller index first, with their scores."""
    products = np.stack([turned.astype(np.float64) @ images[0].T.astype(np.float64) for turned in images])
    scores = np.maximum(products, products.transpose(0, 2, 1)).max(0)
    np.fill_diagonal(scores, -np.inf)
    pairs = find_best(scores, min(topk, len(scores) - 1))
    return {(min(pair), max(pair)): scores[pair] for pair in pairs}


def read(matches: Matches) -> Pairs:
    columns = (matches.first, matches.second, matches.scores, matches.transpositions)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    pairs = {(one, other): (score, code) for one, other, score, code in rows}
    assert len(pairs) == len(rows), "duplicate pair"
    assert (np.diff(matches.scores) <= 0).all(), "not sorted by score"
    assert [column.dtype for column in columns] == [np.int64, np.int64, np.float32, np.int64]
    return pairs


def assert_same(found: Pairs, expected: Pairs) -> None:
    assert found.keys() == expected.keys()
    for pair, (score, code) in expected.items():
        assert found[pair] == (pytest.approx(score, abs=1e-6), code)


sizes = st.integers(1, 150)


# The smallest memory limit gives tiles of 64 images, so larger documents need several tiles.
@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(1, 3), st.integers(1, 25), st.integers(0, 9), st.booleans())
def test_matches_equal_those_of_the_full_matrix(n: int, m: int, t: int, topk: int, seed: int, equal: bool) -> None:
    make = draw_equal if equal else embed
    width = 4 if equal else 24
    first, second = make(t, n, width, seed=seed), make(m, width, seed=seed + 100)
    found = read(match(first, second, MatchConfig(topk, memory_mb=0, device="cpu")))
    assert_same(found, match_in_full(first, second, topk))


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 3), st.integers(1, 25), st.integers(0, 9), st.booleans())
def test_matches_within_a_document_equal_those_of_the_full_matrix(
    n: int, t: int, topk: int, seed: int, equal: bool
) -> None:
    images = draw_equal(t, n, 4, seed=seed) if equal else embed(t, n, 24, seed=seed)
    found = read(match_within(images, MatchConfig(topk, memory_mb=0, device="cpu")))
    unordered = {(min(pair), max(pair)): score for pair, (score, _) in found.items()}
    assert len(unordered) == len(found), "a pair occurs in both directions"
    expected = match_within_in_full(images, topk) if n > 1 else {}
    assert unordered == {pair: pytest.approx(score, abs=1e-6) for pair, score in expected.items()}
    for (first, second), (score, code) in found.items():
        assert first != second
        assert score == pytest.approx(float(images[code, first] @ images[0, second]), abs=1e-6)
        assert code or first < second


def test_large_documents_are_matched_in_large_tiles() -> None:
    first, second = embed(2, 700, 32), embed(2300, 32, seed=9)
    expected = match_in_full(first, second, 20)
    for memory_mb in (1, 512):
        assert_same(read(match(first, second, MatchConfig(20, memory_mb, "cpu"))), expected)


def test_images_in_ascending_order_of_score_are_matched() -> None:
    angles = np.linspace(1.5, 0.01, 3000, dtype=np.float32)
    second = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    first = np.array([[[1, 0], [0, 1]]], np.float32)
    assert_same(read(match(first, second, MatchConfig(20, 1, "cpu"))), match_in_full(first, second, 20))


def test_long_embeddings_are_multiplied_in_parts() -> None:
    first, second = embed(1, 5, 60_000), embed(4, 60_000, seed=1)
    assert_same(read(match(first, second, MatchConfig(3, 1, "cpu"))), match_in_full(first, second, 3))


def test_half_precision_embeddings_are_multiplied_in_float32(tmp_path: Path) -> None:
    first, second = embed(2, 90, 64).astype(np.float16), embed(80, 64, seed=1).astype(np.float16)
    np.save(tmp_path / "first.npy", first)
    np.save(tmp_path / "second.npy", second)
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("first.npy", "second.npy")]
    found = read(match(mapped[0], mapped[1], MatchConfig(5, 1, "cpu")))
    assert_same(found, match_in_full(first, second, 5))
    assert read(match_within(mapped[0], MatchConfig(5, 1, "cpu")))


def test_a_mirrored_image_is_found_by_its_transposition() -> None:
    images = embed(1, 30, 64)
    mirrored = embed(30, 64, seed=5)
    turned = np.concatenate([images, mirrored[None]])  # the second transposition equals the second document
    found = read(match(turned, mirrored, MatchConfig(1, 1, "cpu")))
    assert found == {(i, i): (pytest.approx(1.0, abs=1e-6), 1) for i in range(30)}


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_an_empty_document_has_no_matches(n: int, m: int) -> None:
    assert read(match(embed(1, n, 8), embed(m, 8), MatchConfig(device="cpu"))) == {}


@pytest.mark.parametrize("n", [0, 1])
def test_a_single_image_has_no_matches(n: int) -> None:
    assert read(match_within(embed(2, n, 8), MatchConfig(device="cpu"))) == {}


def test_a_zero_vector_scores_zero() -> None:
    second = embed(3, 8)
    assert set(read(match(np.zeros((1, 1, 8), np.float32), second, MatchConfig(device="cpu"))).values()) == {(0.0, 0)}


def test_no_score_exceeds_one() -> None:
    images = np.full((1, 40, 30), 1 / np.sqrt(30), np.float32) * np.float32(1.000001)
    assert match_within(images, MatchConfig(device="cpu")).scores.max() == 1


def test_matches_do_not_depend_on_the_memory_limit() -> None:
    first, second = draw_equal(2, 300, 4), draw_equal(400, 4, seed=1)
    one, other = (match(first, second, MatchConfig(7, memory, "cpu")) for memory in (0, 512))
    for name in ("first", "second", "scores", "transpositions"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_full_memory_makes_the_tiles_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory()  # otherwise networks of other tests are dropped before the tiles shrink
    limits: list[int] = []

    class SmallTiles(TiledProducts):
        def __init__(self, products: list[Product], memory: int, *rest: Any, **options: Any) -> None:
            limits.append(memory >> 20)
            if limits[-1] > 128:
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().__init__(products, memory, *rest, **options)

    one, other = (np.random.default_rng(seed).normal(size=(70, 8)).astype(np.float32) for seed in (0, 1))
    expected = [match([one], other, MatchConfig(5)), match_within([one], MatchConfig(5))]
    monkeypatch.setattr(matching, "TiledProducts", SmallTiles)
    found = [match([one], other, MatchConfig(5)), match_within([one], MatchConfig(5))]
    assert limits == [512, 256, 128] * 2
    for matches, wanted in zip(found, expected, strict=True):
        assert np.array_equal(matches.first, wanted.first)
        assert np.array_equal(matches.scores, wanted.scores)


def test_a_long_match_ticks_after_each_tile() -> None:
    images, config = embed(200, 8), MatchConfig(memory_mb=0)
    ticks: list[str] = []
    match([images], images, config, lambda: ticks.append("match"))
    match_within([images], config, lambda: ticks.append("within"))
    assert ticks.count("match") > 1
    assert ticks.count("within") > 1
