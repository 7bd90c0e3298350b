"""The result of a similarity job: the scores of each pair of its documents, read from the files of the job."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.jobs.pairs import Pair, list_pairs
from app.similarity.scores import ComparedDocument, Scores, unpack_scores
from app.storage import JobFolder, name_scores


@dataclass(frozen=True)
class PairResult:
    """The scores of two documents, and their images."""

    scores: Scores
    a: ComparedDocument
    b: ComparedDocument


class ComparisonResult:
    """What came of a similarity job.

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
