"""Compute the embeddings of a document. An image that several documents contain is embedded once."""

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.detection.precision import Precision
from app.images.pixels import UNREADABLE, decode_image
from app.pipelines.image_cache import evict_damaged
from app.pipelines.similarity.documents import GONE, DocumentRecords
from app.pipelines.similarity.embedding_store import Draft, EmbeddingStore, Rows, build_content
from app.similarity.backbones import Pooling, find_backbone
from app.similarity.transpositions import Transposition

if TYPE_CHECKING:
    from app.config import Settings
    from app.similarity.embedder import Embedder
    from app.storage import Storage

# Interval at which computed embeddings are flushed to disk, so that a killed process loses no more than this.
FLUSH_SECONDS = 0.5
# Number of known embeddings that are copied at a time.
KNOWN_ROWS = 64

Pixels = NDArray[np.uint8]
# Called with the number of rows of a document that are done, and the number computed since the last call.
Report = Callable[[int, int], None]


class ImagesGone(Exception):
    """Images are missing from the cache; ``places`` are their positions in the document."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__(places)
        self.places = places


def open_embeddings(
    model: str, pooling: str, settings: "Settings", storage: "Storage"
) -> "tuple[EmbeddingStore, Callable[[], Embedder]]":
    """Return the store of the embeddings by a backbone, and the function that loads its embedder.

    Args:
        model: Name of the backbone. Its published weights are downloaded if they are missing.
        pooling: Name of the pooling; "" for that of the backbone.
        settings: Settings of the process.
        storage: Files of embeddings and of trials.

    Raises:
        BackboneError: The weights are missing, or cannot be downloaded.
    """
    from app.similarity.backbone_weights import fetch_weights, identify
    from app.similarity.embedder import EmbedderConfig, load_embedder

    s, folder = settings, settings.backbones_folder
    backbone, chosen = find_backbone(model), Pooling(pooling) if pooling else None
    fetch_weights(backbone, folder, s.ca_bundle)
    config = EmbedderConfig(chosen, device=s.device, precision=Precision(s.precision), streams=0)
    load = partial(load_embedder, backbone, folder, config, storage.trials, s.ca_bundle)
    return EmbeddingStore(storage.embeddings, identify(backbone, chosen, folder)), load


class DocumentEmbedder:
    """Embeds documents.

    Args:
        store: Store of the embeddings.
        transpositions: Transpositions under which each image is embedded.
        load_embedder: Function that loads the embedder; called only if an embedding must be computed.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        transpositions: Sequence[Transposition],
        load_embedder: Callable[[], "Embedder"],
    ) -> None:
        self.store = store
        self.transpositions = transpositions
        self._load_embedder = cache(load_embedder)  # stays loaded when memory is low

    def embed(
        self, records: DocumentRecords, images: Path, record_content: Callable[[str], None], report: Report
    ) -> str:
        """Compute the missing embeddings of a document.

        Images that are missing from the cache are recorded as failed, and the document is embedded without them.

        Args:
            records: Records of the document.
            images: Folder of its cached images.
            record_content: Called with the content of the document before its embeddings are used, so that retention
                keeps them.
            report: Progress callback.

        Returns:
            Content of the document, see :mod:`app.storage`; "" if it has no usable image.
        """
        while usable := records.order_usable():
            digests = [fetched.digest for _, fetched in usable]
            content = build_content(digests)
            record_content(content)
            missing = [Transposition(each) for each in self.store.find_missing(content, self.transpositions)]
            if not missing:
                report(len(digests), 0)
                return content
            try:
                self._embed(content, digests, [images / str(fetched.file) for _, fetched in usable], missing, report)
            except ImagesGone as gone:
                for place in gone.places:
                    records.add(replace(usable[place][1], file=None, digest="", reason=GONE))
        return ""

    def _embed(
        self,
        content: str,
        digests: Sequence[str],
        paths: Sequence[Path],
        missing: Sequence[Transposition],
        report: Report,
    ) -> None:
        known = self.store.find_rows(digests, missing)
        new = [place for place, digest in enumerate(digests) if digest not in known]
        if gone := [place for place in new if not paths[place].exists()]:
            raise ImagesGone(gone)
        embedder = self._load_embedder() if new else None
        dimension = embedder.dimension if embedder else len(known[digests[0]][0])
        with self.store.draft(content, digests, missing, dimension) as draft:
            places = range(draft.done, len(digests))
            if embedder:
                chunks = embedder.split(places)
                work = partial(_compute, embedder, digests, paths, known.keys(), missing)
                computed = embedder.run(work, chunks)
            else:
                chunks = [places[start : start + KNOWN_ROWS] for start in range(0, len(places), KNOWN_ROWS)]
                computed = iter([{} for _ in chunks])
            flush = _Flusher(draft, report)
            for chunk, fresh in zip(chunks, computed, strict=True):
                rows = [fresh.get(place) or known[digests[place]] for place in chunk]
                draft.write(chunk[0], [np.stack(each) for each in zip(*rows, strict=True)])
                flush(chunk[-1] + 1, len(fresh))
            flush(len(digests), 0, at_once=True)
            draft.finish()


def _compute(
    embedder: "Embedder",
    digests: Sequence[str],
    paths: Sequence[Path],
    known: Set[str],
    missing: Sequence[Transposition],
    places: Sequence[int],
) -> dict[int, list[Rows]]:
    """Embed the unknown images among some places of a document. Return, by place, one row per transposition.

    Raises:
        ImagesGone: Images are missing from the cache.
    """
    # JPEGs are decoded at twice the input size or more: closer to the input size, scores differ by hundredths.
    least = 2 * embedder.input_size
    unknown = [place for place in places if digests[place] not in known]
    loaded = ((place, _load_pixels(paths[place], least)) for place in unknown)
    # Reduced at once, because a batch of large PNGs may take gigabytes.
    images = {place: embedder.reduce(pixels) for place, pixels in loaded if pixels is not None}
    if gone := [place for place in unknown if place not in images]:
        raise ImagesGone(gone)
    if not images:
        return {}
    rows = embedder.embed_transposed([*images.values()], missing).astype(np.float16)
    return {place: [each[index] for each in rows] for index, place in enumerate(images)}


class _Flusher:
    """Flushes rows to disk and reports progress, at most every ``FLUSH_SECONDS``."""

    def __init__(self, draft: Draft, report: Report) -> None:
        self._draft = draft
        self._report = report
        self._last = time.monotonic()
        self._computed = 0

    def __call__(self, done: int, computed: int, at_once: bool = False) -> None:
        self._computed += computed
        if at_once or time.monotonic() - self._last >= FLUSH_SECONDS:
            self._draft.flush(done)
            self._report(done, self._computed)
            self._last, self._computed = time.monotonic(), 0


def _load_pixels(path: Path, least: int) -> Pixels | None:
    """Decode an image as RGB. If the file is missing or damaged, remove it from the cache and return None."""
    try:
        with path.open("rb") as file:
            return decode_image(file, least, min)[0]
    except UNREADABLE as error:
        evict_damaged(path, error)
        return None
