"""Embed the documents of a similarity job, find the best matches of every pair, then verify the best of these.

In: the records of the documents and their cached images. Out: one score file per pair of documents in the job's folder.
With a ``PairVerifier``, also one file with verified pairs of images.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.jobs.pairs import list_pairs
from app.pipelines.similarity.document_embedder import DocumentEmbedder
from app.pipelines.similarity.documents import (
    Count,
    DocumentRecords,
    Report,
    check_usable,
    cover,
    load_all,
    save_compared,
)
from app.pipelines.similarity.pair_scores import PairScores
from app.pipelines.similarity.pair_verifier import ImageFiles, PairVerifier
from app.storage import JobFolder, link, name_scores

# Shortest interval between two reports of steps that take less.
REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class _ComparedPair:
    """A pair of documents with scores.

    Attributes:
        a, b: IDs of the documents.
        cached: Score file in the cache.
        scores: Score file in the job's folder.
    """

    a: str
    b: str
    cached: Path
    scores: Path


def compare(
    folder: JobFolder,
    images: Mapping[str, Path],
    embedder: DocumentEmbedder,
    scores: PairScores | None,
    verifier: PairVerifier | None,
    record_content: Callable[[str, str], None],
    report: Report,
    count: Count = lambda *_: None,
) -> None:
    """Embed every document, find the best matches of every pair, and verify them.

    Args:
        folder: Folder of the job.
        images: Folders of the cached images, by document ID.
        embedder: Embedder that reuses stored embeddings.
        scores: Cache of the scores of pairs; None to embed the documents and compare no pairs.
        verifier: Verifier of the best matches; None to verify nothing.
        record_content: Called with the ID and the content of each document before the content is used.
        report: Progress callback, called at most twice a second for images, and after each newly compared pair.
        count: Called with the numbers of embedded images, compared pairs of documents and verified pairs of images.

    Raises:
        FetchError: No document has an image that can be compared, or an image was removed during the verification.
    """
    documents = load_all(folder, images)
    usable = {each.doc_id: len(each.order_usable()) for each in documents}
    progress = _Progress(_estimate_steps(usable, verifier) if scores else sum(usable.values()), report, count)
    report(0, progress.total, cover(documents))
    contents: dict[str, str] = {}
    for records in documents:
        doc_id = records.doc_id
        if verifier:
            verifier.extract_features(records, images[doc_id], progress.report_features)
            progress.done += usable[doc_id]
        content = embedder.embed(records, images[doc_id], partial(record_content, doc_id), progress.report_images)
        if content:
            contents[doc_id] = content
        progress.done += usable[doc_id]
    check_usable(documents)
    report(progress.done, progress.total, cover(documents))
    pairs = _compare_pairs(folder, documents, contents, scores, progress) if scores else []
    for records in documents:
        if records.doc_id in contents:
            save_compared(records, contents[records.doc_id], images[records.doc_id])
        else:
            folder.document(records.number, ".compared").unlink(missing_ok=True)
    if verifier:
        files = {each.doc_id: ImageFiles.from_records(each, images[each.doc_id]) for each in documents}
        _verify_pairs(pairs, files, verifier, progress)
    _remove_others(folder, pairs)


def _estimate_steps(usable: Mapping[str, int], verifier: PairVerifier | None) -> int:
    """Return the largest possible number of steps: images, pairs of documents, and pairs of images."""
    images, pairs = sum(usable.values()), list(list_pairs(doc_id for doc_id, number in usable.items() if number))
    if not verifier:
        return images + len(pairs)
    return 2 * images + len(pairs) + sum(verifier.estimate(usable[a], usable[b], within=a == b) for a, b in pairs)


class _Progress:
    """Reports the progress of a comparison: images, then pairs of documents, then pairs of images."""

    def __init__(self, total: int, report: Report, count: Count) -> None:
        self.total = total
        self.done = 0
        self._report = report
        self._count = count
        self._last = 0.0

    def report_features(self, images: int) -> None:
        """Report for how many images of the current document the features are known."""
        self._tell(self.done + images)

    def report_images(self, images: int, embedded: int) -> None:
        """Report how many images of the current document are done, and how many were embedded since the last report."""
        if embedded:
            self._count("images", "embedded", embedded)
        self._report(self.done + images, self.total, None)

    def report_pair(self, is_known: bool) -> None:
        """Report that a pair of documents is compared."""
        self._count("pairs", "known" if is_known else "compared", 1)
        self.done += 1
        self._tell(self.done, at_once=not is_known)

    def report_image_pairs(self, number: int, is_known: bool) -> None:
        """Report that some pairs of images are verified."""
        if number:
            self._count("image_pairs", "known" if is_known else "verified", number)
        self.done += number
        self._tell(self.done)

    def _tell(self, done: int, at_once: bool = False) -> None:
        if at_once or done >= self.total or time.monotonic() - self._last >= REPORT_SECONDS:
            self._report(done, self.total, None)
            self._last = time.monotonic()


def _compare_pairs(
    folder: JobFolder,
    documents: Sequence[DocumentRecords],
    contents: Mapping[str, str],
    scores: PairScores,
    progress: _Progress,
) -> list[_ComparedPair]:
    numbers = {records.doc_id: records.number for records in documents}
    pairs = []
    for a, b in list_pairs(contents):
        cached, is_known = scores.find_or_compute(contents[a], contents[b], within=a == b)
        target = folder.scores(numbers[a], numbers[b], name_scores(contents[a], contents[b]))
        link(cached, target)
        pairs.append(_ComparedPair(a, b, cached, target))
        progress.report_pair(is_known)
    return pairs


def _verify_pairs(
    pairs: Sequence[_ComparedPair], files: Mapping[str, ImageFiles], verifier: PairVerifier, progress: _Progress
) -> None:
    """Verify the best matches of every pair of documents. From here on, the total is exact."""
    numbers = [verifier.count_candidates(pair.scores, within=pair.a == pair.b) for pair in pairs]
    progress.total = progress.done + sum(numbers)
    for pair, number in zip(pairs, numbers, strict=True):
        target = pair.scores.with_suffix(".verified")
        path = verifier.find(pair.cached)
        if path or target.exists():
            progress.report_image_pairs(number, is_known=True)
        else:
            both = files[pair.a], files[pair.b]
            path = verifier.compute(pair.scores, pair.cached, *both, progress.report_image_pairs)
        if path:
            link(path, target)


def _remove_others(folder: JobFolder, pairs: Sequence[_ComparedPair]) -> None:
    """Remove the files of pairs that an earlier run of the job compared with other images."""
    kept = {pair.scores.stem for pair in pairs}
    for path in (folder.path / "scores").glob("*"):
        if path.suffix in (".scores", ".verified") and path.stem not in kept:
            path.unlink(missing_ok=True)
