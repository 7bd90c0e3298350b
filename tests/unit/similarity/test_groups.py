import random
from collections.abc import Iterable, Iterator
from itertools import combinations

import pytest

from app.similarity.groups import Group, Link, find_groups


def clique(images: Iterable[int], probability: float = 0.97) -> Iterator[Link]:
    return (Link(a, b, probability) for a, b in combinations(images, 2))


def list_images(groups: list[Group]) -> list[list[int]]:
    return [sorted(member.image for member in group.members) for group in groups]


def test_linked_images_are_one_group() -> None:
    groups = find_groups([*clique(range(3)), *clique(range(10, 15))])
    assert list_images(groups) == [[10, 11, 12, 13, 14], [0, 1, 2]]
    assert find_groups([]) == []


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_chain_stays_together(length: int) -> None:
    (group,) = find_groups([Link(n, n + 1, 0.9) for n in range(length - 1)])
    assert len(group.members) == length


def test_a_print_with_one_link_joins_its_group() -> None:
    assert list_images(find_groups([*clique(range(10)), Link(20, 4, 0.6)])) == [[*range(10), 20]]


@pytest.mark.parametrize("size", [3, 4, 10, 40])
@pytest.mark.parametrize("probability", [0.6, 1.0])
def test_a_false_link_between_two_large_groups_does_not_join_them(size: int, probability: float) -> None:
    one, other = range(size), range(size, 2 * size)
    groups = find_groups([Link(0, size, probability), *clique(one), *clique(other)])
    assert list_images(groups) == [[*one], [*other]]
    assert [list(group.related) for group in groups] == [[1], [0]]


def test_some_false_links_to_close_copies_do_not_join_both_blocks() -> None:
    false = [Link(0, 10, 0.9), Link(1, 10, 0.9), Link(2, 13, 0.9), Link(2, 14, 0.9)]
    assert len(find_groups([*clique(range(6)), *clique(range(10, 15)), *false])) == 2


def test_an_image_with_two_blocks_joins_the_one_with_more_links() -> None:
    part = [Link(99, image, 0.95) for image in range(10)]
    groups = find_groups([*part, *clique(range(4)), *clique(range(4, 10))])
    assert list_images(groups) == [[4, 5, 6, 7, 8, 9, 99], [0, 1, 2, 3]]
    assert [list(group.related) for group in groups] == [[1], [0]]


def test_a_large_group_in_which_only_the_nearest_are_linked_stays_together() -> None:
    chosen = random.Random(1)
    pairs = {(a, b) for a in range(200) for b in chosen.sample(range(200), 10) if a != b}
    (group,) = find_groups([Link(a, b, chosen.uniform(0.7, 1)) for a, b in pairs])
    assert len(group.members) == 200


def test_the_most_connected_image_is_the_representative() -> None:
    (group,) = find_groups([Link(3, 1, 0.9), Link(3, 2, 0.8), Link(3, 4, 0.9), Link(2, 1, 0.9), Link(4, 7, 0.7)])
    assert [member.image for member in group.members] == [3, 1, 4, 2, 7]
    assert [member.partner for member in group.members] == [1, 3, 3, 3, 4]


def test_the_order_of_the_links_does_not_matter() -> None:
    chosen = random.Random(2)
    links = [Link(*chosen.sample(range(60), 2), round(chosen.random(), 2)) for _ in range(90)]
    pairs = {frozenset((link.first, link.second)): link for link in links}
    turned = [Link(link.second, link.first, link.probability) for link in pairs.values()]
    chosen.shuffle(turned)
    assert find_groups(turned) == find_groups(pairs.values())


def test_groups_in_a_ring_of_false_links_stay_apart() -> None:
    links = [link for first in range(0, 20_000, 10) for link in clique(range(first, first + 10))]
    links += [Link(first, first + 5, 0.9) for first in range(5, 19_990, 10)]
    assert len(find_groups(links)) == 2000
