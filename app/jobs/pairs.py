"""The pairs of a similarity job, every two of its documents and each with itself, and their scores in its files.

A pair is named by its two ids in order, with a hyphen between them; so are its field and its file at the client app.
Ids may have hyphens too, and so a name says which pair it is only among the pairs of one job.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

from app.similarity.scores import ComparedDocument, Scores, unpack_scores
from app.storage import JobFolder, name_scores

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


@dataclass(frozen=True)
class PairResult:
    """The scores of two documents, and their images."""

    scores: Scores
    a: ComparedDocument
    b: ComparedDocument


class ComparisonResult:
    """The result of a similarity job.

    Args:
        folder: The job's.
        documents: Of its request, by id, in its order.
    """

    def __init__(self, folder: JobFolder, documents: Mapping[str, Any]) -> None:
        self._folder = folder
        self._numbers = {doc_id: number for number, doc_id in enumerate(documents, 1)}

    def load_pair(self, pair: Pair) -> PairResult | None:
        """Return the scores of a pair; None when there are none (yet, or any more)."""
        a, b = (self._load_document(doc_id) for doc_id in pair)
        if a is None or b is None:
            return None
        numbers = self._numbers[pair[0]], self._numbers[pair[1]]
        try:
            data = self._folder.scores(*numbers, name_scores(a.content, b.content)).read_bytes()
        except FileNotFoundError:
            return None
        return PairResult(unpack_scores(data), a, b)

    def list_pairs(self) -> Iterator[tuple[Pair, str]]:
        """Yield the pairs of which there are scores, each with what stands for its content."""
        loaded = (self._load_document(doc_id) for doc_id in self._numbers)
        contents = {each.doc_id: each.content for each in loaded if each}
        for a, b in list_pairs(contents):
            yield (a, b), name_scores(contents[a], contents[b])

    def _load_document(self, doc_id: str) -> ComparedDocument | None:
        try:
            record = json.loads(self._folder.document(self._numbers[doc_id], ".compared").read_bytes())
        except FileNotFoundError:
            return None
        return ComparedDocument(**record)
