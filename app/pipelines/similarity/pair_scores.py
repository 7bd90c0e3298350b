"""The best matches of two documents, in a cache that all jobs share and link to."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from app.pipelines.similarity.embedding_store import EmbeddingStore
from app.similarity.matching import MatchConfig, Matches, match, match_within
from app.similarity.scores import pack_scores
from app.storage import build_key, write_atomic

# Shortest interval between two calls of ``tick``.
TICK_SECONDS = 5.0


class PairScores:
    """The scores of pairs of documents, cached or computed.

    Args:
        root: Folder of the cache, with one subfolder per content.
        store: Store of the embeddings.
        transpositions: Transpositions of the first image of a pair; the first one is ``none``.
        config: Parameters of the matching.
        tick: Called every few seconds while a pair is computed, which may take hours; raises to stop.
    """

    def __init__(
        self,
        root: Path,
        store: EmbeddingStore,
        transpositions: Sequence[str],
        config: MatchConfig,
        tick: Callable[[], object] = bool,
    ) -> None:
        self._root = root
        self._key_parts = f"{store.identity} {config.topk} {' '.join(transpositions)}"
        self._store = store
        self._transpositions = transpositions
        self._config = config
        self._tick = tick

    def find_or_compute(self, first: str, second: str, *, within: bool) -> tuple[Path, bool]:
        """Return the file with the scores of two documents, and whether it was cached.

        Args:
            first, second: Contents with complete embeddings.
            within: Whether both are the same document; an image is then not compared with itself.
        """
        path = self._root / first / f"{second}-{build_key(f'{self._key_parts} {within}')}.scores"
        with suppress(FileNotFoundError):
            os.utime(path)  # retention counts from the last use
            return path, True
        write_atomic(path, pack_scores(self._match(first, second, within)))
        return path, False

    def _match(self, first: str, second: str, within: bool) -> Matches:
        last = time.monotonic()

        def tick() -> None:
            nonlocal last
            if time.monotonic() - last >= TICK_SECONDS:
                last = time.monotonic()
                self._tick()

        rows = self._store.open(first, self._transpositions)
        if within:
            return match_within(rows, self._config, tick)
        (others,) = self._store.open(second, self._transpositions[:1])
        return match(rows, others, self._config, tick)
