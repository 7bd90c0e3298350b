"""Groups of images that show the same block: verified pairs → groups, robust against single false pairs.

A *link* is a verified pair with the verdict ``same`` or ``part``. The simplest groups are the connected components of
the links. But one false link, such as a library stamp on both images, then joins two large groups. Groups are therefore
built by agglomerative clustering. At first, each image is alone. The links are taken in order, and each one merges the
groups of its two images if their linkage is at least ``LEAST_LINKAGE``. This is repeated until no group changes::

    linkage = sum of the probabilities of all links between both groups / sum that was to be expected

The expected sum is the smallest of three numbers:

    all pairs between the groups x density of the sparser one    as in the average linkage
    sum of the probabilities of all links of the one group       as in the conductance of a cut
    sum of the probabilities of all links of the other group

The density of a group is the mean probability of all pairs within it. Dense groups are those in which verification
finds nearly every pair; they must be linked densely. In other groups links are rare, because only the best candidates
of each image are verified, or because prints are worn or cropped.

==============================================  ==================================  =======
groups                                          linkage                             result
==============================================  ==================================  =======
two groups of 10 images with all links, 1 link  1 / 91                              apart
two triangles, 1 link                           1 / 7                               apart
two pairs, 1 link of equal probability          1 / 3                               merged
a group, and an image with 1 link               1 / 1                               merged
==============================================  ==================================  =======

A chain of three images is the last case, so it stays together. Links between images that share most of their partners
come first (Jaccard similarity), then the more probable ones: the inner part of a group is merged before its border.

An image in which two blocks were printed together has links to the prints of both. It becomes a member of the group to
which it is linked better, and the two groups stay apart. Each group lists the others to which it has links, so that no
link is hidden.

This module does not import numpy, because the web process uses it.
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# Chosen on simulated links, with false ones, copies, stamps and faint prints. On verified pairs of 549 real woodcuts,
# all values from 0.2 to 0.5 give the same groups.
LEAST_LINKAGE = 0.3
# Number of partners of an image that are compared with those of another one, to bound the time for a thousand copies.
_MOST_COMPARED = 64

# Probabilities of the links of an image or a group: by image or group at the other end.
_Links = dict[int, float]


@dataclass(frozen=True, slots=True)
class Link:
    """A verified pair of the same block: the numbers of two images, and the probability."""

    first: int
    second: int
    probability: float


@dataclass(frozen=True, slots=True)
class Member:
    """An image of a group.

    Attributes:
        image: Number of the image.
        partner: Member next to it on the shortest way to the representative, often the representative itself; of the
            representative, its most probable partner.
    """

    image: int
    partner: int


@dataclass(frozen=True, slots=True)
class Group:
    """Images that show the same block.

    Attributes:
        members: Members; the first one is the representative, which has the most links in the group.
        related: Places of other groups in the list of groups to which this one has links.
    """

    members: Sequence[Member]
    related: Sequence[int] = field(default=())


def find_groups(links: Iterable[Link]) -> list[Group]:
    """Return the groups of linked images, the largest first. Images without a link are in no group."""
    by_image: dict[int, _Links] = {}
    for link in links:
        if link.first != link.second:
            by_image.setdefault(link.first, {})[link.second] = link.probability
            by_image.setdefault(link.second, {})[link.first] = link.probability
    groups = [_describe(images, by_image) for images in _merge(by_image) if len(images) > 1]
    groups.sort(key=lambda group: (-len(group.members), group.members[0].image))
    return _relate(groups, by_image)


@dataclass(slots=True)
class _Cluster:
    """A group that is being built.

    Attributes:
        images: Its images.
        outward: Sums of the probabilities of its links to other clusters, by their keys.
        volume: Sum of the probabilities of all links of its images. Links within the cluster count twice.
        inner: Sum of the probabilities of the links within it.
    """

    images: list[int]
    outward: _Links
    volume: float
    inner: float = 0.0

    @property
    def density(self) -> float:
        size = len(self.images)
        return self.inner / (size * (size - 1) / 2) if size > 1 else 1.0


def _merge(by_image: Mapping[int, _Links]) -> Iterator[list[int]]:
    """Yield the images of each group."""
    clusters = {image: _Cluster([image], {**links}, sum(links.values())) for image, links in by_image.items()}
    keys = {image: image for image in by_image}
    waiting, before = _order(by_image), -1
    while len(waiting) != before:
        before, links, waiting = len(waiting), waiting, []
        for link in links:
            one, other = keys[link[0]], keys[link[1]]
            if one == other:
                continue
            if _measure_linkage(clusters[one], clusters[other], clusters[one].outward[other]) < LEAST_LINKAGE:
                waiting.append(link)
                continue
            if len(clusters[one].outward) < len(clusters[other].outward):
                one, other = other, one
            _absorb(clusters, one, other)
            for image in clusters.pop(other).images:
                keys[image] = one
    return (cluster.images for cluster in clusters.values())


def _measure_linkage(first: _Cluster, second: _Cluster, between: float) -> float:
    dense = len(first.images) * len(second.images) * min(first.density, second.density)
    return between / min(dense, first.volume, second.volume)


def _absorb(clusters: Mapping[int, _Cluster], kept: int, gone: int) -> None:
    """Move the images and links of a cluster to another one."""
    into, other = clusters[kept], clusters[gone]
    into.images += other.images
    into.volume += other.volume
    into.inner += other.inner + into.outward.pop(gone)
    for far, probability in other.outward.items():
        if far != kept:
            into.outward[far] = into.outward.get(far, 0.0) + probability
            del clusters[far].outward[gone]
            clusters[far].outward[kept] = into.outward[far]


def _order(by_image: Mapping[int, _Links]) -> list[tuple[int, int]]:
    """Return the links in the order in which they merge groups."""
    partners = {image: _sample(links) for image, links in by_image.items()}
    ranked = []
    for first, links in by_image.items():
        for second, probability in links.items():
            if first < second:
                one, other = partners[first], partners[second]
                shared = len(one & other)
                similarity = (shared + 1) / (len(one) + len(other) - shared)
                ranked.append((-similarity, -probability, first, second))
    ranked.sort()
    return [(first, second) for _, _, first, second in ranked]


def _sample(images: Collection[int]) -> set[int]:
    """Return some images, or all of a few. The samples of similar sets are similar, too (MinHash)."""
    if len(images) <= _MOST_COMPARED:
        return set(images)
    return set(heapq.nsmallest(_MOST_COMPARED, images, key=lambda image: image * 2654435761 % 2**32))


def _describe(images: Sequence[int], by_image: Mapping[int, _Links]) -> Group:
    """Return a group with its representative first, then the nearest members."""
    inside = set(images)

    def rank(image: int) -> tuple[int, float, int]:
        found = [probability for other, probability in by_image[image].items() if other in inside]
        return -len(found), -sum(found), image

    first = min(images, key=rank)
    partners = {first: max(by_image[first].keys() & inside, key=lambda image: (by_image[first][image], -image))}
    waiting = deque([first])
    while waiting:
        image = waiting.popleft()
        near = sorted((-probability, other) for other, probability in by_image[image].items())
        for _, other in near:
            if other in inside and other not in partners:
                partners[other] = image
                waiting.append(other)
    return Group([Member(image, partner) for image, partner in partners.items()])


def _relate(groups: Sequence[Group], by_image: Mapping[int, _Links]) -> list[Group]:
    place = {member.image: number for number, group in enumerate(groups) for member in group.members}
    related = []
    for number, group in enumerate(groups):
        others = {place.get(other, number) for member in group.members for other in by_image[member.image]}
        related.append(Group(group.members, sorted(others - {number})))
    return related
