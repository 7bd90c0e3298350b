"""The documents that a search covers, and the embeddings of their images."""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from app.jobs.documents import EmbeddedDocument
from app.pipelines.similarity.embedding_store import IMAGES, EmbeddingStore
from app.similarity.exact_search import LONGEST, Half, sketch_rows
from app.similarity.scores import ComparedDocument
from app.similarity.transpositions import Transposition
from app.storage import Storage, write_atomic

# Number of arrays that stay mapped. Each keeps a file open (``OPEN_FILES`` of the workers). Their memory belongs to the
# file cache of the operating system.
MOST_ARRAYS = 30_000
SKETCHES = "sketches.npy"


@dataclass(frozen=True)
class SearchedDocument:
    """A document and its embeddings.

    Attributes:
        doc_id: ID of the document.
        record: File with the list of its images, in the order of the rows.
        folder: Folder of its embeddings by one backbone.
        rows: Embeddings ``(n, d)`` by which it is searched: sketches if the embeddings are long.
    """

    doc_id: str
    record: Path
    folder: Path
    rows: Half

    @cached_property
    def compared(self) -> ComparedDocument:
        """The list of its images."""
        return ComparedDocument(**json.loads(self.record.read_bytes()))

    @cached_property
    def digests(self) -> list[str]:
        """The digests of its image files."""
        return (self.folder.parent / IMAGES).read_text().split("\n")

    @property
    def whole_rows(self) -> Half:
        """The embeddings as the backbone computed them."""
        return _open(self.folder / f"{Transposition.NONE}.npy")


def open_documents(
    found: Iterable[EmbeddedDocument],
    storage: Storage,
    store: EmbeddingStore,
    report: Callable[[int], None],
) -> list[SearchedDocument]:
    """Return the documents that have embeddings. A document that occurs repeatedly is opened once, in its first form.

    Args:
        found: Rows of the documents, the preferred ones first.
        storage: Storage of their jobs.
        store: Store of the embeddings.
        report: Called with the number of open documents after one was sketched, because this takes a while.
    """
    documents: dict[str, SearchedDocument] = {}
    for row in found:
        record = storage.job(row.job_id).document(row.number, ".compared")
        # The record is missing until the job has compared all documents. While a retry of the job embeds other images,
        # it describes the earlier ones.
        content = None if row.doc_id in documents else _find_content(record)
        if content is None or store.find_missing(content, [Transposition.NONE]):
            continue
        folder = store.folder(content)
        rows = _open(folder / f"{Transposition.NONE}.npy")
        if rows.shape[1] > LONGEST:
            sketches = folder / SKETCHES
            if not sketches.exists():
                _save(sketches, sketch_rows(rows))
                report(len(documents))
            rows = _open(sketches)
        documents[row.doc_id] = SearchedDocument(row.doc_id, record, folder, rows)
    return list(documents.values())


def _find_content(record: Path) -> str | None:
    """Return the content of a document from the list of its images; None if there is no list."""
    try:
        return _load_content(record, record.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


@lru_cache(MOST_ARRAYS)
def _load_content(record: Path, changed: int) -> str:
    return str(json.loads(record.read_bytes())["content"])


def _open(path: Path) -> Half:
    return _map(path, path.stat().st_mtime_ns)


@lru_cache(MOST_ARRAYS)
def _map(path: Path, changed: int) -> Half:
    # Mode "c" instead of "r", because torch does not accept read-only arrays.
    return np.asarray(np.load(path, mmap_mode="c"), np.float16)


def _save(path: Path, rows: Half) -> None:
    file = io.BytesIO()
    np.save(file, rows)
    write_atomic(path, file.getvalue())
