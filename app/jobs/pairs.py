"""The pairs of a similarity job: every two of its documents, and each with itself.

A pair is named by its two ids in order, with a hyphen between them; so are its field and its file at the client app.
Ids may have hyphens too, and so a name says which pair it is only among the pairs of one job.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations_with_replacement

Pair = tuple[str, str]


def list_pairs(doc_ids: Iterable[str]) -> Iterator[Pair]:
    """Yield every pair of some documents, the ids of each in order.

    >>> list(list_pairs(["b", "a"]))
    [('a', 'a'), ('a', 'b'), ('b', 'b')]
    """
    return combinations_with_replacement(sorted(doc_ids), 2)


def name_pair(pair: Pair) -> str:
    return f"{pair[0]}-{pair[1]}"


def find_ambiguous(doc_ids: Iterable[str]) -> tuple[Pair, Pair] | None:
    """Return two pairs of one name, where there are such: ``a-b`` and ``c``, ``a`` and ``b-c``."""
    seen: dict[str, Pair] = {}
    for pair in list_pairs(doc_ids):
        other = seen.setdefault(name_pair(pair), pair)
        if other != pair:
            return other, pair
    return None


def find_pairs(name: str, doc_ids: Iterable[str]) -> list[Pair]:
    """Return the pair of a name; else those whose ids, the other way round, make that name.

    Args:
        name: As ``{a}-{b}``.
        doc_ids: Of the job, no two pairs of which have one name.
    """
    known = set(doc_ids)
    cuts = [(name[:place], name[place + 1 :]) for place, letter in enumerate(name) if letter == "-"]
    found = [cut for cut in cuts if known.issuperset(cut)]
    in_order = [cut for cut in found if cut[0] <= cut[1]]
    return in_order or [(b, a) for a, b in found]
