"""Stages of detection jobs. The job of a collection adds one job for each manifest."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.database.tables import Job
from app.delivery.payloads import find_annotation_destination
from app.detection.parts import choose_side
from app.detection.weights import Weights
from app.detection.weights_description import DEFAULT_SIZE
from app.errors import FetchError, ManifestError, RequestError, WeightsError
from app.iiif.collection import Collection
from app.jobs import State
from app.jobs.requests import AikonTask, DetectionRequest
from app.logs import set_job
from app.pipelines.detection import ahead
from app.pipelines.detection import work as detection
from app.pipelines.detection.expansion import MAX_MANIFESTS, expand
from app.pipelines.detection.pages import discard_stale_detections
from app.services import Services

if TYPE_CHECKING:
    from app.detection.detector import Detector


def download(services: Services, job: Job) -> State | None:
    """Fetch the manifest and its images."""
    request, s = DetectionRequest.from_json(job.request), services.settings
    folder, (longest, side) = services.storage.job(job.id), choose_image_size(services, request)
    plan = detection.DownloadPlan(
        longest,
        s.max_canvases,
        retries=job.retries,
        may_evict=lambda: request.origin not in services.list_origins_in_use(apart_from=job.id),
        side=side,
        max_file_bytes=int(s.max_dataset_mb * 1e6),
    )
    if job.retries:
        with suppress(RequestError, WeightsError):  # ``run`` needs the weights and reports the error
            discard_stale_detections(folder, services.models.find(request.model).digest())
    report = _build_report(services, job, is_download=True)
    document = detection.fetch_manifest(request, folder, services.fetcher, plan, report)
    if isinstance(document, Collection):
        return _expand(services, job, document)
    services.jobs.record_manifest(job, document.ref, len(document.canvases))
    detection.download(
        request,
        document,
        services.storage.images(request.origin),
        folder,
        services.fetcher,
        plan,
        report,
        services.count_pages,
    )
    return None


def load_default_weights(services: Services) -> None:
    """Load the default weights, so that the first job need not wait for them."""
    _load_detector(services, services.models.find())  # if there are none, torch is not imported either


def _load_detector(services: Services, weights: Weights) -> "Detector":
    from app.detection.loading import build_config, load_detector
    from app.detection.weights import isolate_ultralytics

    isolate_ultralytics(services.settings.data_folder / "ultralytics")
    config = build_config(services.settings, services.choose_model_size(weights))
    return load_detector(weights, config, services.storage.trials)


def detect_ahead(services: Services) -> bool:
    """Detect some pages of a job that still downloads; return whether there were any.

    Only jobs with the same weights as the first one are taken, so that weights are not loaded in turn.
    """
    jobs = services.jobs.scheduler.list_downloading(DetectionRequest.kind)
    for job in (job for job in jobs if job.request.get("model") == jobs[0].request.get("model")):
        set_job(job.id)
        request, folder = DetectionRequest.from_json(job.request), services.storage.job(job.id)
        with suppress(RequestError, WeightsError), ahead.claim(folder) as is_claimed:  # ``run`` reports the error
            if is_claimed:
                detector = _load_detector(services, services.models.find(request.model))
                if ahead.detect(request, services.storage.images(request.origin), folder, detector):
                    return True
    return False


def run(services: Services, job: Job) -> State | None:
    """Detect the illustrations on the images."""
    request = DetectionRequest.from_json(job.request)
    weights = services.models.find(request.model)
    detector = _load_detector(services, weights)
    services.jobs.record_start(job, weights.label)
    images, folder = services.storage.images(request.origin), services.storage.job(job.id)
    if len(folder.pages.list_keys()) < job.total:
        raise FetchError("The records of some pages are missing or damaged: retry the job.")
    detection.detect(request, images, folder, detector, _build_report(services, job), services.count_pages)
    return None


def choose_image_size(services: Services, request: DetectionRequest) -> tuple[int | None, int | None]:
    """Return ``longest`` and ``side`` of :class:`~app.pipelines.detection.work.DownloadPlan` for a request."""
    size = services.settings.model_size or DEFAULT_SIZE
    with suppress(RequestError):  # ``run`` needs the weights and reports the error
        size = services.choose_model_size(services.models.find(request.model))
    return request.choose_longest(services.settings.choose_longest_image(size)), choose_side(request.tiles, size)


def deliver(services: Services, job: Job) -> State | None:
    """Put the annotation file in the outbox."""
    if services.jobs.is_part_of(job, AikonTask.kind):
        return None  # the events name the result, and the front fetches it
    callback, client_app_url = DetectionRequest.from_json(job.request).callback, services.settings.client_app_url
    to = find_annotation_destination(callback, client_app_url, job.manifest_ref or "")
    if to:
        services.jobs.enqueue_result(job, to)
    return None


def _expand(services: Services, job: Job, collection: Collection) -> State:
    """Add a job for each manifest of a collection. The job of the collection is then done."""
    request = DetectionRequest.from_json(job.request)
    if job.parent_id:
        raise ManifestError(
            f"{request.manifest_url} is a collection inside another request: send its manifests one by one."
        )

    def report(fetched: int) -> None:
        services.jobs.record_progress(job, fetched, 0, None)

    urls = expand(collection, services.fetcher, MAX_MANIFESTS, report)
    services.jobs.expand(job, *request.for_manifests(urls))
    return State.DONE


def _build_report(services: Services, job: Job, *, is_download: bool = False) -> Callable[[int, int, Any], None]:
    before = 0

    def report(done: int, total: int, coverage: Any) -> None:
        nonlocal before
        services.jobs.record_progress(job, done, total, coverage.as_json() if coverage else None)
        if is_download and before < done < total:  # after the last page, the stage ``run`` follows
            services.queue.wake_ahead()
        before = done

    return report
