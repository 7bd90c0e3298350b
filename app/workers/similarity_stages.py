"""Stages of similarity jobs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from app.database.tables import Job
from app.delivery.payloads import find_scores_destination
from app.detection.parts import choose_grid
from app.errors import RequestError
from app.jobs import State
from app.jobs.pairs import ComparisonResult, name_pair
from app.jobs.requests import AikonTask, DetectionRequest, SimilarityRequest, Source
from app.pipelines.image_cache import ImageCache
from app.pipelines.similarity.document_source import DEFAULT_LIMITS, DocumentSource
from app.pipelines.similarity.documents import Coverage
from app.pipelines.similarity.image_sources import (
    LONGEST_RATIO,
    DetectionSource,
    ImageSource,
    MissingSource,
)
from app.services import Services
from app.similarity.backbones import find_shortest
from app.sources.local_pages import LocalPages
from app.storage import ILLUSTRATIONS, JobFolder
from app.workers.detection_stages import choose_image_size


def download(services: Services, job: Job) -> State | None:
    """Fetch the image lists of the documents, and the images."""
    from app.pipelines.similarity import download as similarity

    request, documents = _read(job), services.documents
    folder, find = services.storage.job(job.id), partial(find_source, services, job.app_id, request.model)
    sources = {
        doc_id: find(doc_id, each, folder.document_folder(number))
        for number, (doc_id, each) in enumerate(request.documents.items(), 1)
    }
    documents.record(job, {doc_id: source.name for doc_id, source in sources.items()})
    plan = similarity.DownloadPlan(services.host_rules, job.retries)
    similarity.download(sources, folder, plan, _build_report(services, job), services.counters.add)
    return None


def run(services: Services, job: Job) -> State | None:
    """Embed the images, find the best matches of every pair of documents, and verify them."""
    from app.pipelines.similarity.comparison import compare
    from app.pipelines.similarity.document_embedder import DocumentEmbedder, open_embeddings
    from app.pipelines.similarity.feature_store import FeatureStore
    from app.pipelines.similarity.pair_scores import PairScores
    from app.pipelines.similarity.pair_verifier import PairVerifier
    from app.similarity.matching import MatchConfig

    s, request, documents = services.settings, _read(job), services.documents
    store, load_embedder = open_embeddings(request.model, request.pooling, s, services.storage)
    embedder = DocumentEmbedder(store, request.transpositions, load_embedder)
    matching = MatchConfig(request.topk, device=s.device)
    tick = partial(services.jobs.record_activity, job)
    scores = PairScores(services.storage.scores, store, request.transpositions, matching, tick)
    features = FeatureStore(services.storage.features)
    verifier = PairVerifier(features, request.verify) if request.verify else None
    images = {row.doc_id: services.storage.images(row.source) for row in documents.list_for_job(job)}
    services.jobs.record_start(job)
    compare(
        services.storage.job(job.id),
        images,
        embedder,
        scores,
        verifier,
        partial(documents.record_content, job),
        _build_report(services, job),
        services.counters.add,
    )
    return None


def deliver(services: Services, job: Job) -> State | None:
    """Put the scores of every pair in the outbox."""
    if services.jobs.is_part_of(job, AikonTask.kind):
        return None  # the events name the result, and the front fetches it
    request = _read(job)
    to = find_scores_destination(request.callback, services.settings.client_app_url)
    if to:
        result = ComparisonResult(services.storage.job(job.id), request.documents)
        parts = {name_pair(pair): content for pair, content in result.list_pairs()}
        services.jobs.enqueue_result(job, to, parts)
    return None


def _read(job: Job) -> SimilarityRequest:
    return SimilarityRequest.from_json(job.request)


def find_source(
    services: Services, app_id: int, model: str, doc_id: str, source: Source, folder: JobFolder
) -> ImageSource:
    """Return the source of a document's images, with their cache.

    Args:
        services: Services of the process.
        app_id: ID of the client app.
        model: Name of the backbone.
        doc_id: ID of the document; "" in a search.
        source: Source in the request.
        folder: Folder for the pages of a document at a URL.
    """
    shortest = find_shortest(model)

    def open_document(url: str, folder: JobFolder, origin: str) -> ImageSource:
        limits = replace(DEFAULT_LIMITS, max_file_bytes=int(services.settings.max_dataset_mb * 1e6))
        images, fetcher = services.storage.images, services.fetcher
        return DocumentSource(url, folder, origin, images, fetcher, shortest, crops=source.crops, limits=limits)

    if source.url:
        return open_document(source.url, folder, source.url)
    longest = LONGEST_RATIO * shortest
    try:
        detection = services.documents.find_detection(app_id, doc_id, source)
    except RequestError as error:
        name = source.job_id or source.manifest_url
        return MissingSource(name, ImageCache(services.storage.images(name), services.fetcher, longest), error)
    found, folder = DetectionRequest.from_json(detection.request), services.storage.job(detection.id)
    if source.is_document:
        return open_document(found.manifest_url, folder, found.origin)
    origin, (size, side) = found.origin, choose_image_size(services, found)
    pages = ImageCache(
        services.storage.images(origin),
        services.fetcher,
        size,
        cap_to_host_size=not found.image_size,
        choose_grid=partial(choose_grid, side=side),
        local=LocalPages(folder),
    )
    illustrations = ImageCache(services.storage.images(f"{origin}{ILLUSTRATIONS}"), services.fetcher, longest)
    return DetectionSource(folder, origin, illustrations, pages, services.fetcher, shortest)


def _build_report(services: Services, job: Job) -> Callable[[int, int, Coverage | None], None]:
    def report(done: int, total: int, coverage: Coverage | None) -> None:
        record: dict[str, Any] | None = coverage.as_json() if coverage else None
        services.jobs.record_progress(job, done, total, record)

    return report
