"""The stages of a detection job. A collection becomes a job for each of its manifests."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from app.database.tables import Job
from app.delivery.payloads import find_annotation_destination
from app.errors import ManifestError, RequestError, WeightsError
from app.iiif.collection import Collection
from app.jobs import DetectionRequest, State
from app.pipelines.detection import work as detection
from app.pipelines.detection.expansion import MAX_MANIFESTS, expand
from app.services import Services


def download(services: Services, job: Job) -> State | None:
    """Fetch the manifest and its images."""
    request, s = DetectionRequest(**job.request), services.settings
    folder, longest = services.storage.job(job.id), request.choose_longest(s.longest_image)
    in_use = request.refresh and request.manifest_url in services.jobs.list_unfinished_manifests(apart_from=job.id)
    plan = detection.DownloadPlan(longest, s.max_canvases, retries=job.retries, evict_unfetched=not in_use)
    if job.retries:
        with suppress(RequestError, WeightsError):  # the stage that needs the weights says so
            detection.discard_stale_detections(folder, services.models.find(request.model).digest())
    document = detection.fetch_manifest(request, folder, services.fetcher, plan)
    if isinstance(document, Collection):
        return _split(services, job, document)
    services.jobs.record_manifest(job, document.ref)
    images, report = services.storage.images(request.manifest_url), _build_report(services, job)
    detection.download(request, document, images, folder, services.fetcher, plan, report, services.count_page)
    return None


def run(services: Services, job: Job) -> State | None:
    """Find the illustrations on the images."""
    from app.detection.detector import DetectorConfig
    from app.detection.loading import load_detector
    from app.detection.weights import isolate_ultralytics

    request, s = DetectionRequest(**job.request), services.settings
    isolate_ultralytics(s.data_folder / "ultralytics")
    weights = services.models.find(request.model)
    config = DetectorConfig(s.model_size, s.confidence, batch_size=s.batch_size, device=s.device)
    services.jobs.record_model(job, weights.label)
    detector = load_detector(weights, config)
    services.jobs.record_start(job)
    images, report = services.storage.images(request.manifest_url), _build_report(services, job)
    detection.detect(request, images, services.storage.job(job.id), detector, report, services.count_page)
    return None


def deliver(services: Services, job: Job) -> State | None:
    """Put the annotation file in the outbox."""
    callback, client_app_url = DetectionRequest(**job.request).callback, services.settings.client_app_url
    to = find_annotation_destination(callback, client_app_url, job.manifest_ref or "")
    if to:
        services.jobs.enlist_result(job, to)
    return None


def _split(services: Services, job: Job, collection: Collection) -> State:
    """Make a job of each manifest of a collection; the collection's own is then done."""
    request = DetectionRequest(**job.request)
    if job.parent_id:
        raise ManifestError(f"{request.manifest_url} is a collection inside another: send it by itself.")

    def report(fetched: int) -> None:
        services.jobs.record_progress(job, fetched, 0, None)

    urls = expand(collection, services.fetcher, MAX_MANIFESTS, report)
    services.jobs.expand(job, *request.for_manifests(urls))
    return State.DONE


def _build_report(services: Services, job: Job) -> Callable[[int, int, Any], None]:
    def report(done: int, total: int, coverage: Any) -> None:
        services.jobs.record_progress(job, done, total, coverage.as_json() if coverage else None)

    return report
