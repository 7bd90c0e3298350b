"""Verify the best matches of two documents, in a cache that all jobs share and link to.

    <content>/<content>-<key>.verified       complete
    <content>/<content>-<key>.verified-part  incomplete: a worker that resumes appends the missing rows

The rows have a fixed order. A worker that computes the same file at the same time writes the same rows to the same
positions.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.detection.streams import count_cores
from app.errors import FetchError
from app.images.pixels import map_ahead
from app.pipelines.similarity.documents import GONE, DocumentRecords
from app.pipelines.similarity.feature_store import FeatureStore
from app.similarity.scores import Scores, unpack_scores
from app.similarity.verification import VERSION, LocalFeatures, verify
from app.similarity.verified_pairs import MAGIC, ROW_BYTES, Verdict, Verification, VerifiedPair, pack_row
from app.storage import build_key

Item = TypeVar("Item")
Result = TypeVar("Result")

# Number of different pairs that a thread verifies at a time. A killed process loses no more than this per thread.
CHUNK = 32
# Number of images at a time in each thread, when features are extracted.
IMAGES = 4
# Number of images whose features stay in memory: about 1 MB each.
LOADED = 512
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

# Called with the number of images of a document that are done.
ReportImages = Callable[[int], None]
# Called with a number of further pairs of images, and whether they were known.
ReportPairs = Callable[[int, bool], None]


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a document, in the order of the indices in the score files.

    Attributes:
        digests: SHA-256 of each file. Equal digests are adjacent.
        paths: Places in the image cache. Retention may have removed a file.
    """

    digests: Sequence[str]
    paths: Sequence[Path]

    @classmethod
    def from_records(cls, records: DocumentRecords, images: Path) -> "ImageFiles":
        """Return the usable images of a document.

        Args:
            records: Records of the document.
            images: Folder of its cached images.
        """
        usable = [fetched for _, fetched in records.order_usable()]
        return cls([each.digest for each in usable], [images / str(each.file) for each in usable])


class PairVerifier:
    """Verifies the best matches of pairs of documents.

    Args:
        store: Store of the local features.
        best: Number of best matches of each image that are verified, in both directions.
        threads: Number of threads; 0 for one per core.
    """

    def __init__(self, store: FeatureStore, best: int, threads: int = 0) -> None:
        self._store = store
        self._best = best
        self._threads = threads or count_cores()
        self._load = lru_cache(LOADED)(store.find_or_compute)

    def extract_features(self, records: DocumentRecords, images: Path, report: ReportImages) -> None:
        """Extract the missing features of a document. An image that is missing from the cache is recorded as failed.

        Args:
            records: Records of the document.
            images: Folder of its cached images.
            report: Progress callback.
        """
        usable = [fetched for _, fetched in records.order_usable()]
        paths = {each.digest: images / str(each.file) for each in usable}
        missing = [digest for digest in paths if not self._store.holds(digest)]
        chunks = [missing[start : start + IMAGES] for start in range(0, len(missing), IMAGES)]
        gone, done = set[str](), len(paths) - len(missing)
        work = partial(self._extract, paths)
        for chunk, found in zip(chunks, _run(work, chunks, self._threads), strict=True):
            gone.update(found)
            done += len(chunk)
            report(done)
        for each in usable:
            if each.digest in gone:
                records.add(replace(each, file=None, digest="", reason=GONE))

    def _extract(self, paths: dict[str, Path], digests: Sequence[str]) -> list[str]:
        """Extract and store the features of some images. Return the digests of images that are gone."""
        gone = []
        for digest in digests:
            try:
                self._store.find_or_compute(digest, paths[digest])
            except FileNotFoundError:
                gone.append(digest)
        return gone

    def estimate(self, first: int, second: int, *, within: bool) -> int:
        """Return the largest possible number of verified pairs of images of two documents with some images."""
        if within:
            return min(first * self._best, first * (first - 1) // 2)
        return min(first * self._best + second * self._best, first * second)

    def count_candidates(self, scores: Path, *, within: bool) -> int:
        """Return the number of pairs of images to verify.

        Args:
            scores: Score file.
            within: Whether both documents are the same.
        """
        return len(find_candidates(unpack_scores(scores.read_bytes()), self._best, within=within))

    def find(self, scores: Path) -> Path | None:
        """Return the file with the verified pairs, or None if it is not in the cache.

        Args:
            scores: Score file in the cache.
        """
        with suppress(FileNotFoundError):
            os.utime(self._place(scores))  # retention counts from the last use
            return self._place(scores)
        return None

    def compute(self, scores: Path, cached: Path, a: ImageFiles, b: ImageFiles, report: ReportPairs) -> Path:
        """Verify the best matches of two documents, and return the file in the cache.

        Args:
            scores: Score file.
            cached: Score file in the cache; the name of the result is derived from it.
            a, b: Images of the two documents.
            report: Progress callback, called after each chunk; it may raise, and a later call resumes.

        Raises:
            FetchError: The features and the file of an image were removed.
        """
        found = find_candidates(unpack_scores(scores.read_bytes()), self._best, within=a is b)
        path = self._place(cached)
        part = path.with_suffix(".verified-part")
        path.parent.mkdir(parents=True, exist_ok=True)
        chunks = list(_split(*_group(found, a.digests, b.digests)))
        with open(part, "r+b", opener=_open_or_create) as file:
            known = (os.fstat(file.fileno()).st_size - len(MAGIC)) // ROW_BYTES
            file.write(MAGIC)
            left = [chunk for chunk in chunks if chunk.end > known]
            report(left[0].start if left else len(found), True)
            for chunk, content in zip(left, _run(partial(self._verify, a, b), left, self._threads), strict=True):
                file.seek(len(MAGIC) + chunk.start * ROW_BYTES)
                file.write(content)
                file.flush()
                report(chunk.end - chunk.start, False)
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):  # another worker finished first, with the same rows
            os.replace(part, path)
        return path

    def _place(self, scores: Path) -> Path:
        content, _, key = scores.stem.rpartition("-")
        return scores.with_name(f"{content}-{build_key(f'{key} {self._best} {VERSION}')}.verified")

    def _verify(self, a: ImageFiles, b: ImageFiles, chunk: "_Chunk") -> bytes:
        """Verify a chunk of pairs, and return their rows."""
        rows = []
        for group in chunk.groups:
            i, j = group[0]
            try:
                first, second = self._load(a.digests[i], a.paths[i]), self._load(b.digests[j], b.paths[j])
            except FileNotFoundError as error:
                raise FetchError(GONE, temporary=True) from error
            is_same = a.digests[i] == b.digests[j]
            found = verify_same(first) if is_same else verify(first, second)
            rows += [pack_row(VerifiedPair(i, j, found)) for i, j in group]
        return b"".join(rows)


def _open_or_create(path: str, flags: int) -> int:
    """Open a file without truncating it, because another worker may write to it."""
    return os.open(path, flags | os.O_CREAT, 0o644)


def verify_same(features: LocalFeatures) -> Verification:
    """Return the result for two images with the same file, without work."""
    width, height = (int(side) for side in features.size)
    whole = (0, 0, width, height)
    return Verification(Verdict.SAME, 1.0, len(features.points), whole, whole, IDENTITY)


@dataclass(frozen=True)
class _Chunk:
    """Consecutive rows of a file.

    Attributes:
        start, end: Positions of its rows.
        groups: Index pairs of its rows; those of each group have the same two files.
    """

    start: int
    end: int
    groups: Sequence[Sequence[tuple[int, int]]]


def find_candidates(scores: Scores, best: int, *, within: bool) -> NDArray[np.int64]:
    """Return the pairs of images to verify: the best matches of each image, in both directions.

    Args:
        scores: Scores of two documents, best first.
        best: Number of best matches of each image.
        within: Whether both documents are the same.

    Returns:
        ``(m, 2)`` indices (first, second), in the order of the scores.
    """
    pairs = np.stack([np.asarray(scores.first, np.int64), np.asarray(scores.second, np.int64)], axis=1)
    if within:
        ranks = _rank(pairs.ravel()).reshape(-1, 2)
    else:
        ranks = np.stack([_rank(pairs[:, 0]), _rank(pairs[:, 1])], axis=1)
    return pairs[(ranks < best).any(axis=1)]


def _rank(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each entry, the number of earlier entries with the same value."""
    order = np.argsort(owners, kind="stable")
    ordered = owners[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ranks = np.empty_like(owners)
    ranks[order] = np.arange(len(owners)) - np.repeat(starts, np.diff(starts, append=len(owners)))
    return ranks


def _group(
    pairs: NDArray[np.int64], first: Sequence[str], second: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort pairs of images so that those with the same two files are adjacent.

    Returns:
        The sorted pairs, and the positions at which other files begin.
    """
    owners, partners = (np.unique(np.array(digests), return_inverse=True)[1] for digests in (first, second))
    keys = owners[pairs[:, 0]] * (len(partners) + 1) + partners[pairs[:, 1]]
    order = np.argsort(keys, kind="stable")
    return pairs[order], np.flatnonzero(np.diff(keys[order], prepend=-1))


def _split(pairs: NDArray[np.int64], starts: NDArray[np.int64]) -> Iterator[_Chunk]:
    ends = np.append(starts[1:], len(pairs))
    for place in range(0, len(starts), CHUNK):
        bounds = list(zip(starts[place : place + CHUNK].tolist(), ends[place : place + CHUNK].tolist(), strict=True))
        yield _Chunk(bounds[0][0], bounds[-1][1], [pairs[start:end].tolist() for start, end in bounds])


def _run(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> Iterator[Result]:
    """Yield the result of each item, in order, computed by threads that use one core each."""
    before = cv2.getNumThreads()
    try:
        yield from map_ahead(work, items, threads, partial(cv2.setNumThreads, 1))
    finally:
        cv2.setNumThreads(before)
