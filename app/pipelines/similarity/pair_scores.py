"""The best matches of two documents, in a cache that all jobs share and link to."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.pipelines.similarity.embedding_store import EmbeddingStore
from app.similarity.matching import MatchConfig, Matches, match, match_within
from app.similarity.scores import pack_scores
from app.storage import build_key, write_atomic


class PairScores:
    """The scores of pairs of documents, cached or computed.

    Args:
        root: Folder of the cache, with one subfolder per content.
        identity: Text that identifies the backbone, its weights and its parameters.
        store: Store of the embeddings.
        transpositions: Transpositions of the first image of a pair; the first one is ``none``.
        config: Parameters of the matching.
    """

    def __init__(
        self, root: Path, identity: str, store: EmbeddingStore, transpositions: Sequence[str], config: MatchConfig
    ) -> None:
        self._root = root
        self._key_parts = f"{identity} {config.topk} {' '.join(transpositions)}"
        self._store = store
        self._transpositions = transpositions
        self._config = config

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
        rows = self._store.open(first, self._transpositions)
        if within:
            return match_within(rows, self._config)
        (others,) = self._store.open(second, self._transpositions[:1])
        return match(rows, others, self._config)
