from pathlib import Path

import numpy as np
import pytest

from app.pipelines.similarity.feature_store import FeatureStore
from app.pipelines.similarity.pair_verifier import PairVerifier, find_candidates
from app.similarity.scores import Scores


def build_scores(pairs: list[tuple[int, int]]) -> Scores:
    """Return scores in the given order of pairs, best first."""
    first, second = zip(*pairs, strict=True)
    count = len(pairs)
    return Scores(first, second, np.linspace(1, 0, count).tolist(), [0] * count)


def list_naively(pairs: list[tuple[int, int]], best: int, within: bool) -> list[tuple[int, int]]:
    """Return the pairs that are among the best of either image, with one loop over the pairs."""
    seen: dict[tuple[str, int], int] = {}
    found = []
    for i, j in pairs:
        owners = [("image", i), ("image", j)] if within else [("first", i), ("second", j)]
        if any(seen.get(owner, 0) < best for owner in owners):
            found.append((i, j))
        for owner in owners:
            seen[owner] = seen.get(owner, 0) + 1
    return found


@pytest.mark.parametrize("best", [1, 3, 100])
@pytest.mark.parametrize("within", [False, True])
def test_candidates_are_the_best_matches_in_both_directions(best: int, within: bool) -> None:
    random = np.random.default_rng(best)
    every = [(i, j) for i in range(12) for j in range(12) if not within or i < j]
    pairs = [every[place] for place in random.permutation(len(every))]
    if within:  # either image may be the first, because of transpositions
        pairs = [pair if random.random() < 0.5 else pair[::-1] for pair in pairs]
    found = [tuple(pair) for pair in find_candidates(build_scores(pairs), best, within=within).tolist()]
    assert found == list_naively(pairs, best, within)


def test_documents_without_a_match_have_no_candidates() -> None:
    assert find_candidates(Scores([], [], [], []), 10, within=True).shape == (0, 2)


@pytest.mark.parametrize(("first", "second", "best"), [(5, 4, 2), (1, 9, 3), (3, 3, 100), (1, 1, 1)])
def test_the_estimate_is_never_too_low(tmp_path: Path, first: int, second: int, best: int) -> None:
    verifier = PairVerifier(FeatureStore(tmp_path), best)
    every = [(i, j) for i in range(first) for j in range(second)]
    across = len(find_candidates(build_scores(every), best, within=False))
    assert across <= verifier.estimate(first, second, within=False) <= len(every)
    inside = [(i, j) for i, j in every if i < j] or [(0, 0)]
    within = len(find_candidates(build_scores(inside), best, within=True))
    assert first == 1 or within <= verifier.estimate(first, first, within=True)
