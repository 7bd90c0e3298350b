"""The results of searches in the form that fronts read: an index, and the best matches of query images in it.

An index is a similarity job of its documents, which embeds their images. A query compares its documents with those of
the index: their stored embeddings are used again.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.aikon.scores import DIGITS, list_images
from app.jobs.pairs import ComparisonResult
from app.similarity.scores import ComparedDocument
from app.similarity.transpositions import Transposition


class SearchResult:
    """The result of a similarity job, for a search.

    Args:
        result: Result of the job.
        task: Request of the task, as JSON.
        transpositions: Names of the transpositions of the job.
    """

    def __init__(self, result: ComparisonResult, task: Mapping[str, Any], transpositions: Sequence[str]) -> None:
        self._result = result
        self._transpositions = [*transpositions]
        self._sources = {document["uid"]: document for document in task["documents"]}
        self._indexed = set(task["parameters"].get("indexed", self._sources))
        self._topk = task["parameters"].get("topk", 0)

    def format_index(self, index_id: str, feat_net: str) -> dict[str, Any]:
        """Return the description of an index."""
        metadata = {"index_id": index_id, "feat_net": feat_net, "transpositions": self._transpositions}
        return {"metadata": metadata, "index": self._describe(self._load(is_query=False))}

    def format_matches(self) -> dict[str, Any]:
        """Return the best matches of the query images: both lists of images, and pairs of indices in them."""
        query, index = self._load(is_query=True), self._load(is_query=False)
        best: dict[int, list[list[int | float]]] = defaultdict(list)
        for start, one in _count_from(query):
            for other_start, other in _count_from(index):
                for i, j, *rest in self._list_pairs(one, other):
                    best[start + int(i)].append([start + int(i), other_start + int(j), *rest])
        pairs = [pair for found in best.values() for pair in sorted(found, key=lambda pair: -pair[2])[: self._topk]]
        return {"query": self._describe(query), "index": self._describe(index), "pairs": pairs}

    def _load(self, is_query: bool) -> list[ComparedDocument]:
        wanted = [uid for uid in self._sources if (uid not in self._indexed) == is_query]
        return [found for uid in wanted if (found := self._result.load_document(uid))]

    def _describe(self, documents: Sequence[ComparedDocument]) -> dict[str, Any]:
        return {
            "sources": {each.doc_id: self._sources[each.doc_id] for each in documents},
            "images": [image for each in documents for image in list_images(each)],
            "transpositions": self._transpositions,
        }

    def _list_pairs(self, one: ComparedDocument, other: ComparedDocument) -> Iterator[list[int | float]]:
        """Yield the pairs of two documents. The job transforms the image of the document that is first by its ID."""
        is_first = one.doc_id < other.doc_id
        found = self._result.load_pair((one.doc_id, other.doc_id) if is_first else (other.doc_id, one.doc_id))
        if found is None:
            return
        unchanged, s = self._transpositions.index(Transposition.NONE), found.scores
        for i, j, score, code in zip(s.first, s.second, s.scores, s.transpositions, strict=True):
            score = round(score, DIGITS)
            yield [i, j, score, code, unchanged] if is_first else [j, i, score, unchanged, code]


def _count_from(documents: Sequence[ComparedDocument]) -> Iterator[tuple[int, ComparedDocument]]:
    """Yield each document with the index of its first image in the list of all images."""
    start = 0
    for document in documents:
        yield start, document
        start += len(document.names)
