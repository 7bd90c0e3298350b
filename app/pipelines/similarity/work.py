"""The steps of a similarity job, in this order:

    1. download  fetch the list of each document, then its images into the image cache
    2. compare   embed each document, then find the best matches of every pair

In: an ``ImageSource`` for each document, an embedder. Out: one score file per pair in the job's folder.

Each step skips what is already in the job's folder or in a cache, so it can be repeated after any interruption. It
calls:

    report(done, total, coverage)  with the progress; raises if the job was cancelled or moved to another worker.
                                   A coverage of None means "unchanged".
    count(event, number)           with the number of new events, see ``Count``
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.errors import ExtractorError, FetchError
from app.jobs.pairs import list_pairs
from app.jobs.requests.reading import show
from app.net.addresses import read_host
from app.pipelines.image_cache import CircuitBreaker
from app.pipelines.similarity.document_embedder import DocumentEmbedder
from app.pipelines.similarity.documents import (
    LONGEST_REASON,
    Coverage,
    DocumentRecords,
    ImageList,
    ImageOutcome,
    ListedImage,
    load_all,
    save_compared,
)
from app.pipelines.similarity.host_pools import run_by_host
from app.pipelines.similarity.image_sources import ImageSource
from app.pipelines.similarity.pair_scores import PairScores, link
from app.storage import JobFolder, name_scores

# Minimum interval between two reports with a coverage: the coverage of a hundred thousand images is large.
COVERAGE_SECONDS = 2.0
REPORT_SECONDS = 0.5

Report = Callable[[int, int, Coverage | None], None]
# Events: ``image embedded``, ``image failed``, ``pair compared``, ``pair known``.
Count = Callable[[str, int], None]


@dataclass(frozen=True)
class DownloadPlan:
    """How a job's images are fetched.

    Attributes:
        threads: Number of images fetched from one host at the same time.
        retries: Number of retries of the job so far.
        embedded: Digests of images that are already embedded and need not be fetched again.
    """

    threads: int = 4
    retries: int = 0
    embedded: frozenset[str] = frozenset()


def download(
    sources: Mapping[str, ImageSource],
    folder: JobFolder,
    plan: DownloadPlan,
    report: Report,
    count: Count = lambda *_: None,
) -> None:
    """Fetch the lists and images of all documents, and record each outcome in the job's folder.

    Args:
        sources: Image sources by document ID.
        folder: Folder of the job.
        plan: Limits of the download.
        report: Progress callback, called twice a second.
        count: Called with ``image failed`` for each image that could not be fetched.

    Raises:
        FetchError: No document has an image that can be compared.
    """
    documents = load_all(folder, sources)
    progress = _DownloadProgress(documents, report)
    try:
        lists = (
            (source.host, partial(_fetch_list, each, source, plan))
            for each, source in _find_lists(documents, sources, plan)
        )
        run_by_host(lists, plan.threads, lambda found: found[0].save_list(found[1]), progress.tick)

        def take(found: tuple[DocumentRecords, ImageOutcome]) -> None:
            records, fetched = found
            records.add(fetched)
            if fetched.file is None:
                count("image failed", 1)

        run_by_host(_list_tasks(documents, sources, plan), plan.threads, take, progress.tick)
        progress.tick(at_once=True)
    finally:
        for records in documents:
            records.close()
    _check_usable(documents)


class _DownloadProgress:
    """Reports the progress of a download."""

    def __init__(self, documents: Sequence[DocumentRecords], report: Report) -> None:
        self._documents = documents
        self._report = report
        self._covered = 0.0

    def tick(self, at_once: bool = False) -> None:
        done = sum(len(each.fetched) for each in self._documents)
        total = sum(len(each.listing.images) for each in self._documents if each.listing)
        due = at_once or time.monotonic() - self._covered >= COVERAGE_SECONDS
        self._report(done, total, cover(self._documents) if due else None)
        if due:
            self._covered = time.monotonic()


def cover(documents: Sequence[DocumentRecords]) -> Coverage:
    return Coverage(tuple(each.cover() for each in documents))


def _find_lists(
    documents: Sequence[DocumentRecords], sources: Mapping[str, ImageSource], plan: DownloadPlan
) -> Iterator[tuple[DocumentRecords, ImageSource]]:
    """Yield the documents whose lists are missing, or must be fetched again by a retry."""
    for records in documents:
        source, known = sources[records.doc_id], records.listing
        if known is None or (known.retries < plan.retries and (known.error or source.may_grow)):
            yield records, source


def _fetch_list(records: DocumentRecords, source: ImageSource, plan: DownloadPlan) -> tuple[DocumentRecords, ImageList]:
    try:
        images = source.list_images()
    except ExtractorError as error:
        images = ImageList(error=error.message[:LONGEST_REASON])
    return records, replace(images, retries=plan.retries)


def _list_tasks(
    documents: Sequence[DocumentRecords], sources: Mapping[str, ImageSource], plan: DownloadPlan
) -> Iterator[tuple[str, Callable[[], tuple[DocumentRecords, ImageOutcome]]]]:
    """Yield a fetch task for each remaining image, with its host."""
    breakers: dict[str, CircuitBreaker] = {}
    for records in documents:
        source = sources[records.doc_id]
        for image in records.listing.images if records.listing else ():
            known = records.fetched.get(image.name)
            if known is None or not _is_settled(known, source, plan):
                host = read_host(image.url)
                breaker = breakers.setdefault(host, CircuitBreaker())
                yield host, partial(_fetch_image, records, image, source, breaker, plan.retries)


def _is_settled(known: ImageOutcome, source: ImageSource, plan: DownloadPlan) -> bool:
    """Return whether an image needs no fetch: it is cached or embedded, or it failed in this try."""
    if known.file is None:
        return known.retries == plan.retries
    return source.cache.holds(known.file) or known.digest in plan.embedded


def _fetch_image(
    records: DocumentRecords, image: ListedImage, source: ImageSource, breaker: CircuitBreaker, retries: int
) -> tuple[DocumentRecords, ImageOutcome]:
    if breaker.reason:
        return records, ImageOutcome(image.name, reason=breaker.reason, retries=retries)
    try:
        cached = source.fetch(image)
    except FetchError as error:
        breaker.record(error)
        return records, ImageOutcome(image.name, reason=error.message[:LONGEST_REASON], retries=retries)
    breaker.record(None)
    digest = hashlib.sha256((source.cache.folder / cached.file).read_bytes()).hexdigest()
    return records, ImageOutcome(image.name, cached.file, digest, retries=retries)


def _check_usable(documents: Sequence[DocumentRecords]) -> None:
    covered = cover(documents).documents
    if not any(each.usable for each in covered):
        first = covered[0]
        raise FetchError(
            f"None of the {len(covered)} documents has an image that can be compared; "
            f"the first, {show(first.doc_id)}: {first.error}"
        )


def compare(
    folder: JobFolder,
    images: Mapping[str, Path],
    embedder: DocumentEmbedder,
    scores: PairScores,
    record_content: Callable[[str, str], None],
    report: Report,
    count: Count = lambda *_: None,
) -> None:
    """Embed every document, and find the best matches of every pair.

    Args:
        folder: Folder of the job.
        images: Folders of the cached images, by document ID.
        embedder: Embedder that reuses stored embeddings.
        scores: Cache of the scores of pairs.
        record_content: Called with the ID and the content of each document before the content is used.
        report: Progress callback, called at most twice a second for images, and after each newly compared pair.
        count: Called with the numbers of embedded images and compared pairs.

    Raises:
        FetchError: No document has an image that can be compared.
    """
    documents = load_all(folder, images)
    usable = {each.doc_id: len(each.order_usable()) for each in documents}
    pairs = len(list(list_pairs(doc_id for doc_id, number in usable.items() if number)))
    progress = _ComparisonProgress(sum(usable.values()) + pairs, report, count)
    report(0, progress.total, cover(documents))
    contents: dict[str, str] = {}
    for records in documents:
        doc_id = records.doc_id
        try:
            content = embedder.embed(records, images[doc_id], partial(record_content, doc_id), progress.report_rows)
        finally:
            records.close()
        if content:
            contents[doc_id] = content
        progress.done += usable[doc_id]
    _check_usable(documents)
    report(progress.done, progress.total, cover(documents))
    _compare_pairs(folder, documents, contents, scores, progress)


class _ComparisonProgress:
    """Reports the progress of a comparison: first images, then pairs."""

    def __init__(self, total: int, report: Report, count: Count) -> None:
        self.total = total
        self.done = 0
        self._report = report
        self._count = count
        self._last = 0.0

    def report_rows(self, rows: int, computed: int) -> None:
        """Report how many images of the current document are embedded."""
        if computed:
            self._count("image embedded", computed)
        self._report(self.done + rows, self.total, None)

    def report_pair(self, is_known: bool) -> None:
        """Report that a pair is done. Known pairs are reported at most every ``REPORT_SECONDS``."""
        self._count("pair known" if is_known else "pair compared", 1)
        self.done += 1
        if not is_known or self.done >= self.total or time.monotonic() - self._last >= REPORT_SECONDS:
            self._report(self.done, self.total, None)
            self._last = time.monotonic()


def _compare_pairs(
    folder: JobFolder,
    documents: Sequence[DocumentRecords],
    contents: Mapping[str, str],
    scores: PairScores,
    progress: _ComparisonProgress,
) -> None:
    numbers = {records.doc_id: records.number for records in documents}
    kept = set()
    for a, b in list_pairs(contents):
        path, is_known = scores.find_or_compute(contents[a], contents[b], within=a == b)
        target = folder.scores(numbers[a], numbers[b], name_scores(contents[a], contents[b]))
        link(path, target)
        kept.add(target.name)
        progress.report_pair(is_known)
    for records in documents:
        if records.doc_id in contents:
            save_compared(records, contents[records.doc_id])
        else:
            folder.document(records.number, ".compared").unlink(missing_ok=True)
    for path in (folder.path / "scores").glob("*.scores"):
        if path.name not in kept:  # from an earlier run
            path.unlink(missing_ok=True)
