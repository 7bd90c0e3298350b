"""The order of work of a similarity job: lists → images → embeddings → the best matches of every pair.

``download`` and ``compare`` are its stages. Each works on the job's folder, skips what lies there or in the cache already,
and so can be run again after any interruption. Each says how far it is through ``report(done, total, coverage)``, which
raises when the job is no longer wanted; a coverage of None is the same as before.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.addresses import read_host
from app.errors import ExtractorError, FetchError
from app.jobs.pairs import list_pairs
from app.jobs.requests.names import show_name
from app.pipelines.documents import (
    LONGEST_REASON,
    Coverage,
    DocumentRecords,
    FetchedImage,
    ImageList,
    ListedImage,
    load_all,
    save_compared,
)
from app.pipelines.embedding import DocumentEmbedder
from app.pipelines.host_pools import work_at_hosts
from app.pipelines.image_sources import ImageSource
from app.pipelines.patience import Patience
from app.similarity.matching import MatchConfig, Matches, match, match_within
from app.similarity.scores import pack_scores
from app.storage import JobFolder, Storage, build_key, name_scores, write_atomic

# The coverage of a hundred thousand images is not written twice a second.
COVERAGE_SECONDS = 2.0
REPORT_SECONDS = 0.5
# A file system that knows no second name of a file, or no more of them.
_NO_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP})

Report = Callable[[int, int, Coverage | None], None]
# Told what became of how many: images ``embedded``, ``known``, ``failed``; pairs ``compared``, ``known``.
Count = Callable[[str, int], None]


@dataclass(frozen=True)
class DownloadPlan:
    """How a job's images are fetched.

    Attributes:
        threads: Images fetched from one host at the same time.
        retries: How often the images that failed have been asked for again.
        embedded: Digests of images that need not be fetched any more.
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
    """Fetch the list of every document and its images into the cache, and keep a record of what came of each.

    Args:
        sources: Of the documents, by id.
        folder: The job's own.
        plan: Number of the requests.
        report: Called twice a second.
        count: Told the images that could not be fetched.

    Raises:
        FetchError: Not one document has an image.
    """
    documents = load_all(folder, sources)
    progress = _Progress(documents, report)
    try:
        lists = (
            (source.host, partial(_fetch_list, each, source, plan))
            for each, source in _find_lists(documents, sources, plan)
        )
        work_at_hosts(lists, plan.threads, lambda found: found[0].save_list(found[1]), progress.tick)

        def take(found: tuple[DocumentRecords, FetchedImage]) -> None:
            records, fetched = found
            records.add(fetched)
            if fetched.file is None:
                count("failed", 1)

        work_at_hosts(_list_tasks(documents, sources, plan), plan.threads, take, progress.tick)
        progress.tick(at_once=True)
    finally:
        for records in documents:
            records.close()
    _check_usable(documents)


class _Progress:
    """Says how far a download is."""

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
    """Yield the documents whose lists are not known, or may be others now that the job is tried again."""
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
) -> Iterator[tuple[str, Callable[[], tuple[DocumentRecords, FetchedImage]]]]:
    """Yield the images that are still to be fetched, each with its host."""
    patiences: dict[str, Patience] = {}
    for records in documents:
        source = sources[records.doc_id]
        for image in records.listing.images if records.listing else ():
            known = records.fetched.get(image.name)
            if known is None or not _is_settled(known, source, plan):
                host = read_host(image.url)
                patience = patiences.setdefault(host, Patience())
                yield host, partial(_fetch_image, records, image, source, patience, plan.retries)


def _is_settled(known: FetchedImage, source: ImageSource, plan: DownloadPlan) -> bool:
    """Tell whether an image needs no more fetching: it is there, was looked at, or failed this time."""
    if known.file is None:
        return known.retries == plan.retries
    return source.cache.holds(known.file) or known.digest in plan.embedded


def _fetch_image(
    records: DocumentRecords, image: ListedImage, source: ImageSource, patience: Patience, retries: int
) -> tuple[DocumentRecords, FetchedImage]:
    if patience.lost:
        return records, FetchedImage(image.name, reason=patience.lost, retries=retries)
    try:
        cached = source.fetch(image)
    except FetchError as error:
        patience.note(error)
        return records, FetchedImage(image.name, reason=error.message[:LONGEST_REASON], retries=retries)
    patience.note(None)
    digest = hashlib.sha256((source.cache.folder / cached.file).read_bytes()).hexdigest()
    return records, FetchedImage(image.name, cached.file, digest, retries=retries)


def _check_usable(documents: Sequence[DocumentRecords]) -> None:
    covered = cover(documents).documents
    if not any(each.usable for each in covered):
        first = covered[0]
        raise FetchError(
            f"None of the {len(covered)} documents has an image that can be compared; "
            f"the first, {show_name(first.doc_id)}: {first.error}"
        )


@dataclass(frozen=True)
class Comparison:
    """How documents are compared, and where what comes of it is kept.

    Attributes:
        storage: Has the caches.
        folder: The job's own.
        identity: Names all that the embedding of an image depends on.
        config: Of the matching.
    """

    storage: Storage
    folder: JobFolder
    identity: str
    config: MatchConfig


def compare(
    comparison: Comparison,
    embedder: DocumentEmbedder,
    images: Mapping[str, Path],
    note: Callable[[str, str], None],
    report: Report,
    count: Count = lambda *_: None,
) -> None:
    """Embed every document, and find the best matches of every pair.

    Args:
        comparison: How.
        embedder: Knows what is embedded already.
        images: The folder of the cached images of each document, by id.
        note: Told the content of each document before it is used.
        report: Called at least at every batch and every half second.
        count: Told images and pairs.

    Raises:
        FetchError: Not one document has an image any more.
    """
    documents = load_all(comparison.folder, images)
    contents: dict[str, str] = {}
    total = sum(len(each.order_usable()) for each in documents)
    pairs = sum(1 for _ in list_pairs(each.doc_id for each in documents if each.order_usable()))
    done = 0
    report(0, total + pairs, cover(documents))
    for records in documents:

        def tell(rows: int, computed: int, before: int = done) -> None:
            count("embedded", computed)
            report(before + rows, total + pairs, None)

        try:
            content = embedder.embed(records, images[records.doc_id], partial(note, records.doc_id), tell)
        finally:
            records.close()
        if content:
            contents[records.doc_id] = content
        done += len(records.order_usable())
    _check_usable(documents)
    _match_pairs(comparison, embedder, contents, documents, partial(_add, report, done, cover(documents)), count)


def _add(report: Report, before: int, coverage: Coverage, done: int, total: int) -> None:
    report(before + done, before + total, coverage if done == 0 else None)


def _match_pairs(
    comparison: Comparison,
    embedder: DocumentEmbedder,
    contents: Mapping[str, str],
    documents: Sequence[DocumentRecords],
    report: Callable[[int, int], None],
    count: Count,
) -> None:
    numbers = {records.doc_id: records.number for records in documents}
    pairs = list(list_pairs(contents))
    kept, last = set(), 0.0
    for done, (a, b) in enumerate(pairs):
        if time.monotonic() - last >= REPORT_SECONDS:
            report(done, len(pairs))
            last = time.monotonic()
        cached = _name_cached(comparison, embedder, (contents[a], contents[b]), within=a == b)
        is_known = cached.exists()
        if not is_known:
            write_atomic(cached, pack_scores(_match(embedder, (contents[a], contents[b]), comparison.config, a == b)))
        count("pair known" if is_known else "pair compared", 1)
        target = comparison.folder.scores(numbers[a], numbers[b], name_scores(contents[a], contents[b]))
        _link(cached, target)
        kept.add(target.name)
    for records in documents:
        if records.doc_id in contents:
            save_compared(records, contents[records.doc_id])
        else:
            comparison.folder.document(records.number, ".compared").unlink(missing_ok=True)
    for path in (comparison.folder.path / "scores").glob("*.scores"):
        if path.name not in kept:  # of an earlier try
            path.unlink(missing_ok=True)
    report(len(pairs), len(pairs))


def _name_cached(
    comparison: Comparison, embedder: DocumentEmbedder, contents: tuple[str, str], *, within: bool
) -> Path:
    """Return the file in the cache that has the scores of two documents; it stands for all that they depend on."""
    how = f"{comparison.identity} {comparison.config.topk} {' '.join(embedder.transpositions)} {within}"
    return comparison.storage.scores / contents[0] / f"{contents[1]}-{build_key(how)}.scores"


def _match(embedder: DocumentEmbedder, contents: tuple[str, str], config: MatchConfig, within: bool) -> Matches:
    first = embedder.store.open(contents[0], embedder.transpositions)
    if within:
        return match_within(first, config)
    (second,) = embedder.store.open(contents[1], embedder.transpositions[:1])
    return match(first, second, config)


def _link(cached: Path, target: Path) -> None:
    """Give a file of the cache a second name in the job's folder: the result stays when the cache is tidied."""
    with suppress(FileNotFoundError):
        os.utime(cached)  # retention counts from the last use
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(cached, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        write_atomic(target, cached.read_bytes())
