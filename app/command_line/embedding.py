"""Fetch and compare the images of documents, as a similarity job does; a search uses the embeddings."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.command_line.documents import Document, DocumentReader
from app.command_line.outcome import show_progress
from app.command_line.workspace import Workspace
from app.errors import RequestError
from app.iiif.collection import Collection
from app.pipelines.image_cache import ImageCache
from app.pipelines.similarity.comparison import compare
from app.pipelines.similarity.document_embedder import DocumentEmbedder, open_embeddings
from app.pipelines.similarity.document_source import DocumentSource
from app.pipelines.similarity.documents import DocumentCoverage, cover, load_all
from app.pipelines.similarity.download import DownloadPlan, download
from app.pipelines.similarity.embedding_store import EmbeddingStore
from app.pipelines.similarity.feature_store import FeatureStore
from app.pipelines.similarity.image_sources import LONGEST_RATIO, DetectionSource, ImageSource
from app.pipelines.similarity.pair_scores import PairScores
from app.pipelines.similarity.pair_verifier import PairVerifier
from app.similarity.backbones import find_shortest
from app.similarity.embedder import Embedder
from app.similarity.matching import MatchConfig
from app.similarity.transpositions import Transposition
from app.storage import ILLUSTRATIONS, JobFolder, build_key

# Number of failed images of a document that a summary lists.
_LISTED = 10


@dataclass(frozen=True)
class ComparisonOptions:
    """How documents are compared.

    Attributes:
        backbone: Name of the backbone.
        transpositions: Transpositions of the first image; the first one is ``none``.
        topk: Number of best matches of each image; 0 compares no documents, for a search.
        verify: Number of best matches that are verified; 0 verifies nothing.
        illustrations: Whether the detected illustrations are compared, instead of whole pages.
    """

    backbone: str
    transpositions: tuple[Transposition, ...] = (Transposition.NONE,)
    topk: int = 20
    verify: int = 10
    illustrations: bool = False


@dataclass(frozen=True)
class Compared:
    """Compared documents.

    Attributes:
        folder: Folder with the results, as that of a job.
        coverage: Outcome of each document, by its ID.
        contents: Content of each document that has a usable image, by its ID.
    """

    folder: JobFolder
    coverage: Mapping[str, DocumentCoverage]
    contents: Mapping[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether every image could be compared."""
        return not any(each.failed or each.error for each in self.coverage.values())


@dataclass
class Comparer:
    """Compares documents in a workspace.

    Attributes:
        workspace: Output folder.
        options: Options of the comparison.
    """

    workspace: Workspace
    options: ComparisonOptions
    store: EmbeddingStore = field(init=False)
    load_embedder: Callable[[], Embedder] = field(init=False)

    def __post_init__(self) -> None:
        name, workspace = self.options.backbone, self.workspace
        self._shortest = find_shortest(name)
        self.store, self.load_embedder = open_embeddings(name, "", workspace.settings, workspace.storage)

    def compare(self, reader: DocumentReader, documents: Mapping[str, Document]) -> Compared:
        """Fetch and embed the images of documents, compare every pair of documents, and verify the best matches.

        Args:
            reader: Reader that opened the documents.
            documents: Documents by ID.

        Raises:
            FetchError: No document has an image that can be compared.
        """
        options, storage = self.options, self.workspace.storage
        named = [[doc_id, document.request.origin] for doc_id, document in documents.items()]
        folder = storage.job(build_key(json.dumps([named, asdict(options)])))
        sources = {doc_id: self._build_source(reader, document) for doc_id, document in documents.items()}
        known = load_all(folder, sources)
        outcomes = [each for records in known for each in (records.listing, *records.fetched.values()) if each]
        retries = 1 + max((each.retries for each in outcomes), default=-1)
        with show_progress("Fetching the images", "image") as report:
            download(sources, folder, DownloadPlan(self.workspace.fetcher.rules, retries), report)
        embedder = DocumentEmbedder(self.store, options.transpositions, self.load_embedder)
        contents: dict[str, str] = {}
        with show_progress("Comparing", "step") as report:
            compare(
                folder,
                {doc_id: source.cache.folder for doc_id, source in sources.items()},
                embedder,
                self._open_scores() if options.topk else None,
                PairVerifier(FeatureStore(storage.features), options.verify) if options.verify else None,
                contents.__setitem__,
                report,
            )
        covered = cover(load_all(folder, sources)).documents
        return Compared(folder, {each.doc_id: each for each in covered}, contents)

    def _open_scores(self) -> PairScores:
        matching = MatchConfig(self.options.topk, device=self.workspace.settings.device)
        root, transpositions = self.workspace.storage.scores, self.options.transpositions
        return PairScores(root, self.store, transpositions, matching)

    def _build_source(self, reader: DocumentReader, document: Document) -> ImageSource:
        storage, fetcher, request = self.workspace.storage, self.workspace.fetcher, document.request
        if not self.options.illustrations:
            return DocumentSource(
                request.manifest_url, document.folder, request.origin, storage.images, fetcher, self._shortest
            )
        illustrations = ImageCache(
            storage.images(f"{request.origin}{ILLUSTRATIONS}"), fetcher, LONGEST_RATIO * self._shortest
        )
        return DetectionSource(
            document.folder, request.origin, illustrations, reader.open_cache(document), fetcher, self._shortest
        )


def open_documents(reader: DocumentReader, sources: Sequence[str], *, illustrations: bool) -> dict[str, Document]:
    """Open the documents of a comparison or a search; return them by an ID that is unique and readable.

    Args:
        reader: Reader of the documents.
        sources: URLs and paths.
        illustrations: Whether to detect their illustrations.

    Raises:
        FetchError: A document could not be fetched.
        RequestError: A source is a collection, or cannot be used.
    """
    documents: dict[str, Document] = {}
    for source in dict.fromkeys(sources):
        document = reader.open(source)
        if isinstance(document, Collection):
            raise RequestError(f"{source} is a collection: name its manifests one by one.")
        if illustrations:
            reader.fetch(document)
            reader.detect(document)
        label = document.manifest.ref or "document"
        names = (label, *(f"{label}-{number}" for number in range(2, len(documents) + 3)))
        documents[next(name for name in names if name not in documents)] = document
    return documents


def describe_coverage(coverage: Mapping[str, DocumentCoverage]) -> list[str]:
    """Return the lines of a summary about the images of the documents."""
    lines = []
    for doc_id, each in coverage.items():
        lines.append(f"{doc_id}: {each.usable} of {each.images} images compared. {each.error}".rstrip())
        lines += [f"  {name} failed: {reason}" for name, reason in each.failed[:_LISTED]]
        if len(each.failed) > _LISTED:
            lines.append(f"  and {len(each.failed) - _LISTED} more")
    return lines


def format_coverage(coverage: Mapping[str, DocumentCoverage]) -> list[dict[str, Any]]:
    return [each.as_json() for each in coverage.values()]
