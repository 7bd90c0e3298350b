"""Fetch the list of each document of a similarity job, then its images into the image cache.

In: an ``ImageSource`` for each document. Out: the records of the documents in the job's folder.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.errors import ExtractorError, FetchError, NoSpace
from app.iiif.hosts import HostRules
from app.images.pixels import UNREADABLE, read_size
from app.net.addresses import read_host
from app.pipelines.image_cache import CircuitBreaker, evict_damaged
from app.pipelines.similarity.documents import (
    GONE,
    LONGEST_REASON,
    Count,
    DocumentRecords,
    ImageList,
    ImageOutcome,
    ListedImage,
    Report,
    check_usable,
    cover,
    load_all,
)
from app.pipelines.similarity.host_pools import run_by_host
from app.pipelines.similarity.image_sources import ImageSource, find_full_size
from app.storage import JobFolder

# Minimum interval between two reports with a coverage: the coverage of a hundred thousand images is large.
COVERAGE_SECONDS = 2.0


@dataclass(frozen=True)
class DownloadPlan:
    """How a job's images are fetched.

    Attributes:
        rules: Rules of the hosts: how many images are fetched from each at the same time.
        retries: Number of retries of the job so far.
    """

    rules: HostRules
    retries: int = 0


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
        count: Called with ``images``, ``failed`` and 1 for each image that could not be fetched.

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
        run_by_host(lists, plan.rules, lambda found: found[0].save_list(found[1]), progress.tick)

        def take(found: tuple[DocumentRecords, ImageOutcome]) -> None:
            records, fetched = found
            records.add(fetched)
            if fetched.file is None:
                count("images", "failed", 1)

        run_by_host(_list_tasks(documents, sources, plan), plan.rules, take, progress.tick)
        progress.tick(at_once=True)
    finally:
        for source in sources.values():
            source.close()
    check_usable(documents)


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
    except NoSpace:
        raise
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
    """Return whether an image needs no fetch: it is cached, or it failed in this try."""
    if known.file is None:
        return known.retries == plan.retries
    return source.cache.holds(known.file)


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
    path = source.cache.folder / cached.file
    try:
        data = path.read_bytes()
        file_size = read_size(io.BytesIO(data))
    except UNREADABLE as error:
        evict_damaged(path, error)
        return records, ImageOutcome(image.name, reason=GONE, retries=retries)
    digest, size = hashlib.sha256(data).hexdigest(), find_full_size(image, cached)
    return records, ImageOutcome(image.name, cached.file, digest, retries=retries, size=size, file_size=file_size)
