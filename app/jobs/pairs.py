"""Pairs of documents of a similarity job, with their scores and their verified pairs of images.

A job compares every two documents, and each document with itself.

The name of a pair is its two document IDs in alphabetical order, joined by a hyphen. Client apps receive it as form
field and file name. IDs may contain hyphens, so a name is unique only among the pairs of one job.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

from app.similarity.scores import ComparedDocument, Scores, unpack_scores
from app.similarity.verified_pairs import RELATED, Verdict, VerifiedPair, count_verified, enlarge, unpack_verified
from app.storage import JobFolder, name_scores

Pair = tuple[str, str]


def list_pairs(doc_ids: Iterable[str]) -> Iterator[Pair]:
    """Yield every pair of some documents, with the IDs of each pair in alphabetical order.

    >>> list(list_pairs(["b", "a"]))
    [('a', 'a'), ('a', 'b'), ('b', 'b')]
    """
    return combinations_with_replacement(sorted(doc_ids), 2)


def name_pair(pair: Pair) -> str:
    return f"{pair[0]}-{pair[1]}"


def find_ambiguous(doc_ids: Iterable[str]) -> tuple[Pair, Pair] | None:
    """Return two pairs with the same name, such as ``("a-b", "c")`` and ``("a", "b-c")``; None if there are none."""
    seen: dict[str, Pair] = {}
    for pair in list_pairs(doc_ids):
        other = seen.setdefault(name_pair(pair), pair)
        if other != pair:
            return other, pair
    return None


def find_pairs(name: str, doc_ids: Iterable[str]) -> list[Pair]:
    """Return the pair with a name, as a list of one.

    If there is none, return the pairs that have this name with their IDs in reverse order. There may be several,
    because IDs may contain hyphens.

    Args:
        name: Name of the form ``{a}-{b}``.
        doc_ids: IDs of the job's documents; the names of their pairs must be unique.
    """
    known = set(doc_ids)
    cuts = [(name[:place], name[place + 1 :]) for place, letter in enumerate(name) if letter == "-"]
    found = [cut for cut in cuts if known.issuperset(cut)]
    in_order = [cut for cut in found if cut[0] <= cut[1]]
    return in_order or [(b, a) for a, b in found]


@dataclass(frozen=True)
class PairResult:
    """Scores of two documents, with the lists of their images."""

    scores: Scores
    a: ComparedDocument
    b: ComparedDocument


@dataclass(frozen=True)
class VerifiedDocuments:
    """The verified pairs of images of two documents, with the lists of their images.

    Attributes:
        a, b: Documents.
        pairs: Pairs; ``first`` is an index in ``a``, ``second`` in ``b``. Regions and transforms are in pixels of the
            full-size images.
    """

    a: ComparedDocument
    b: ComparedDocument
    pairs: Sequence[VerifiedPair]


class ComparisonResult:
    """The result of a similarity job.

    Args:
        folder: Folder of the job.
        documents: Documents of the job's request by ID, in the order of the request.
    """

    def __init__(self, folder: JobFolder, documents: Mapping[str, Any]) -> None:
        self._folder = folder
        self._numbers = {doc_id: number for number, doc_id in enumerate(documents, 1)}

    def load_pair(self, pair: Pair) -> PairResult | None:
        """Return the scores of a pair; None when they do not exist yet, or were removed."""
        a, b = (self.load_document(doc_id) for doc_id in pair)
        if a is None or b is None:
            return None
        try:
            data = self._folder.scores(*self._place(a, b)).read_bytes()
        except FileNotFoundError:
            return None
        return PairResult(unpack_scores(data), a, b)

    def load_verified(self, pair: Pair, verdicts: Collection[Verdict] = tuple(Verdict)) -> VerifiedDocuments | None:
        """Return the verified pairs of images of a pair of documents; None if there are none (yet).

        Args:
            pair: Pair of documents.
            verdicts: Verdicts of the wanted pairs of images.
        """
        a, b = (self.load_document(doc_id) for doc_id in pair)
        return self._load_verified(a, b, verdicts) if a and b else None

    def list_verified(self, verdicts: Collection[Verdict] = RELATED) -> Iterator[VerifiedDocuments]:
        """Yield the verified pairs of images of all pairs of documents that have been verified.

        Args:
            verdicts: Verdicts of the wanted pairs of images.
        """
        for a, b in self._list_compared():
            if verified := self._load_verified(a, b, verdicts):
                yield verified

    def count_verified(self, verdicts: Collection[Verdict]) -> dict[Pair, int]:
        """Return the number of pairs of images with some verdicts, by pair of documents that has been verified."""
        found = ((a, b, self._read_verified(a, b)) for a, b in self._list_compared())
        return {(a.doc_id, b.doc_id): count_verified(data, verdicts) for a, b, data in found if data is not None}

    def _list_compared(self) -> Iterator[tuple[ComparedDocument, ComparedDocument]]:
        documents = {doc_id: found for doc_id in self._numbers if (found := self.load_document(doc_id))}
        return ((documents[first], documents[second]) for first, second in list_pairs(documents))

    def _read_verified(self, a: ComparedDocument, b: ComparedDocument) -> bytes | None:
        try:
            return self._folder.verified(*self._place(a, b)).read_bytes()
        except FileNotFoundError:
            return None

    def _load_verified(
        self, a: ComparedDocument, b: ComparedDocument, verdicts: Collection[Verdict]
    ) -> VerifiedDocuments | None:
        data = self._read_verified(a, b)
        if data is None:
            return None
        pairs = []
        for pair in unpack_verified(data, verdicts):
            i, j = pair.first, pair.second
            pairs.append(enlarge(pair, (a.sizes[i], b.sizes[j]), (a.file_sizes[i], b.file_sizes[j])))
        return VerifiedDocuments(a, b, pairs)

    def _place(self, a: ComparedDocument, b: ComparedDocument) -> tuple[int, int, str]:
        """Return the numbers of two documents, and the name of the files about them."""
        return self._numbers[a.doc_id], self._numbers[b.doc_id], name_scores(a.content, b.content)

    def list_pairs(self) -> Iterator[tuple[Pair, str]]:
        """Yield the pairs of compared documents, each with a digest of its content."""
        loaded = (self.load_document(doc_id) for doc_id in self._numbers)
        contents = {each.doc_id: each.content for each in loaded if each}
        for a, b in list_pairs(contents):
            yield (a, b), name_scores(contents[a], contents[b])

    def load_document(self, doc_id: str) -> ComparedDocument | None:
        """Return a document of the job; None before all documents are compared."""
        try:
            record = json.loads(self._folder.document(self._numbers[doc_id], ".compared").read_bytes())
        except FileNotFoundError:
            return None
        return ComparedDocument(**record)
