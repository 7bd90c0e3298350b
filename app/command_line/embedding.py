"""Fetch and compare the images of documents, as a similarity job does; a search uses the embeddings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.command_line.documents import Document, DocumentReader
from app.command_line.outcome import show_progress
from app.command_line.workspace import Workspace
from app.detection.precision import Precision
from app.errors import RequestError
from app.iiif.collection import Collection
from app.pipelines.image_cache import ImageCache
from app.pipelines.similarity.comparison import compare
from app.pipelines.similarity.document_embedder import DocumentEmbedder
from app.pipelines.similarity.document_source import DocumentSource
from app.pipelines.similarity.documents import DocumentCoverage, cover, load_all
from app.pipelines.similarity.download import DownloadPlan, download
from app.pipelines.similarity.embedding_store import EmbeddingStore
from app.pipelines.similarity.feature_store import FeatureStore
from app.pipelines.similarity.image_sources import LONGEST_RATIO, DetectionSource, ImageSource
from app.pipelines.similarity.pair_scores import PairScores
from app.pipelines.similarity.pair_verifier import PairVerifier
from app.similarity.backbone_weights import fetch_weights, identify
from app.similarity.backbones import find_backbone, find_shortest
from app.similarity.embedder import Embedder, EmbedderConfig, load_embedder
from app.similarity.matching import MatchConfig
from app.similarity.transpositions import Transposition
from app.storage import ILLUSTRATIONS, JobFolder, build_key


@dataclass(frozen=True)
class ComparisonOptions:
    """How documents are compared.

    Attributes:
        backbone: Name of the backbone.
        transpositions: Transpositions of the first image; the first one is ``none``.
        topk: Number of best matches of each image.
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

    def __post_init__(self) -> None:
        s, backbone = self.workspace.settings, find_backbone(self.options.backbone)
        self._shortest = find_shortest(self.options.backbone)
        fetch_weights(backbone, s.backbones_folder, s.ca_bundle)
        self._identity = identify(backbone, None, s.backbones_folder)
        self.store = EmbeddingStore(self.workspace.storage.embeddings, self._identity)

    def load_embedder(self) -> Embedder:
        s = self.workspace.settings
        config = EmbedderConfig(None, device=s.device, precision=Precision(s.precision), streams=0)
        backbone = find_backbone(self.options.backbone)
        return load_embedder(backbone, s.backbones_folder, config, self.workspace.storage.trials, s.ca_bundle)

    def compare(self, reader: DocumentReader, documents: Mapping[str, Document]) -> Compared:
        """Fetch the images of documents, compare every pair of documents, and verify the best matches.

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
        retries = 1 + max((each.retries for records in known for each in records.fetched.values()), default=-1)
        with show_progress("Fetching the images", "image") as report:
            download(sources, folder, DownloadPlan(self.workspace.settings.host_connections, retries), report)
        matching = MatchConfig(options.topk, device=self.workspace.settings.device)
        embedder = DocumentEmbedder(self.store, options.transpositions, self.load_embedder)
        contents: dict[str, str] = {}
        with show_progress("Comparing", "step") as report:
            compare(
                folder,
                {doc_id: source.cache.folder for doc_id, source in sources.items()},
                embedder,
                PairScores(storage.scores, self._identity, self.store, options.transpositions, matching),
                PairVerifier(FeatureStore(storage.features), options.verify) if options.verify else None,
                contents.__setitem__,
                report,
            )
        covered = cover(load_all(folder, sources)).documents
        return Compared(folder, {each.doc_id: each for each in covered}, contents)

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
        lines += [f"  {name} failed: {reason}" for name, reason in each.failed[:10]]
    return lines


def format_coverage(coverage: Mapping[str, DocumentCoverage]) -> list[dict[str, Any]]:
    return [each.as_json() for each in coverage.values()]
