"""Stages of searches. A search has no delivery: its client app waits for the answer, or asks for it."""

from functools import partial

from app.database.tables import Job
from app.jobs import State
from app.jobs.requests import SearchRequest, Source
from app.pipelines.image_cache import ImageCache
from app.services import Services
from app.similarity.backbones import find_shortest
from app.workers.similarity_stages import find_source


def download(services: Services, job: Job) -> State | None:
    """Fetch the image to search for. An upload is there already."""
    from app.pipelines.search.query_image import fetch_detection, fetch_from_url

    request, folder = _read(job), services.storage.job(job.id)
    if request.job_id:
        source = find_source(services, job.app_id, request.model, "", Source(job_id=request.job_id), folder)
        fetch_detection(folder, source, request.canvas_number, request.index, request.box)
    elif request.image_url:
        images = services.storage.images(f"searches of {job.app_id}")
        caches = partial(ImageCache, images, services.fetcher)
        fetch_from_url(folder, request.image_url, request.box, caches, services.fetcher, find_shortest(request.model))
    return None


def run(services: Services, job: Job) -> State | None:
    """Find the best matches of the image, and verify them."""
    from app.pipelines.search.query_image import load_query
    from app.pipelines.search.work import SearchPlan, Stores, save_result, search
    from app.pipelines.similarity.document_embedder import open_embeddings
    from app.pipelines.similarity.feature_store import FeatureStore

    request, folder = _read(job), services.storage.job(job.id)
    found = services.documents.list_embedded(job.app_id, request)
    store, load_embedder = open_embeddings(request.model, request.pooling, services.settings, services.storage)
    stores = Stores(services.storage, store, FeatureStore(services.storage.features))
    embedder = load_embedder()
    services.jobs.record_start(job)
    query = load_query(folder, request.box, is_upload=not request.needs_download)
    plan = SearchPlan(request.k, request.verify, request.transpositions)
    total = len({row.doc_id for row in found})
    report = partial(services.jobs.record_progress, job, total=total, coverage=None)
    save_result(folder.matches, search(query, found, stores, embedder, plan, report))
    report(total)
    return State.DONE


def deliver(services: Services, job: Job) -> State | None:
    """Do nothing: the run stage leads to state ``done``."""
    return None


def _read(job: Job) -> SearchRequest:
    return SearchRequest.from_json(job.request)
