import pytest

from app.jobs.pairs import find_ambiguous, find_pairs, list_pairs, name_pair

IDS = ["ms-3", "b", "a-ms", "a"]


def test_every_pair_has_a_name_of_its_own_by_which_it_is_found_in_either_order() -> None:
    pairs = list(list_pairs(IDS))
    assert len(pairs) == 10
    assert all(a <= b for a, b in pairs)
    for pair in pairs:
        assert find_pairs(name_pair(pair), IDS) == [pair]
        assert pair in find_pairs(name_pair((pair[1], pair[0])), IDS)


@pytest.mark.parametrize("name", ["", "a", "-", "a-", "a-c", "a-b-", "b--a"])
def test_what_names_no_pair_is_not_found(name: str) -> None:
    assert find_pairs(name, IDS) == []


def test_a_name_in_order_goes_before_one_the_other_way_round() -> None:
    ids = ["1", "1-1", "1-1-1"]
    assert find_ambiguous(ids) == (("1", "1-1-1"), ("1-1", "1-1"))
    ids = ["1-2", "1", "2-1"]
    assert find_ambiguous(ids) is None
    assert find_pairs("1-2-1", ids) == [("1", "2-1")]
    assert find_pairs("1-1-2", ids) == [("1", "1-2")]


def test_a_name_that_two_pairs_have_the_other_way_round_is_ambiguous() -> None:
    ids = ["c-b", "a", "c", "b-a"]
    assert find_ambiguous(ids) is None
    assert sorted(find_pairs("c-b-a", ids)) == [("a", "c-b"), ("b-a", "c")]
