import pytest

from app.jobs.pairs import find_ambiguous, find_pairs, list_pairs, name_pair

IDS = ["ms-3", "b", "a-ms", "a"]


def test_every_pair_is_found_by_its_name_in_either_order() -> None:
    pairs = list(list_pairs(IDS))
    assert len(pairs) == 10
    assert all(a <= b for a, b in pairs)
    for pair in pairs:
        assert find_pairs(name_pair(pair), IDS) == [pair]
        assert pair in find_pairs(name_pair((pair[1], pair[0])), IDS)


@pytest.mark.parametrize("name", ["", "a", "-", "a-", "a-c", "a-b-", "b--a"])
def test_an_unknown_name_has_no_pair(name: str) -> None:
    assert find_pairs(name, IDS) == []


def test_a_name_in_order_comes_before_a_reversed_name() -> None:
    ids = ["1", "1-1", "1-1-1"]
    assert find_ambiguous(ids) == (("1", "1-1-1"), ("1-1", "1-1"))
    ids = ["1-2", "1", "2-1"]
    assert find_ambiguous(ids) is None
    assert find_pairs("1-2-1", ids) == [("1", "2-1")]
    assert find_pairs("1-1-2", ids) == [("1", "1-2")]


def test_a_reversed_name_may_belong_to_two_pairs() -> None:
    ids = ["c-b", "a", "c", "b-a"]
    assert find_ambiguous(ids) is None
    assert sorted(find_pairs("c-b-a", ids)) == [("a", "c-b"), ("b-a", "c")]
