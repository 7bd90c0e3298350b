"""The estimate of a detection: ``POST /run_detect`` with ``estimate=true``."""

import math
import threading
from typing import Annotated

from pydantic import Field
from typing_extensions import TypeAliasType, TypedDict

from app.errors import Busy, FetchError, ManifestError, RequestError
from app.jobs.job_answers import Count
from app.jobs.requests import DetectionRequest
from app.routes.answers import Message, Queued
from app.services import current_services
from app.sources.documents import fetch_without_pages
from app.sources.recognition import Limits

# Largest number of estimates of a process that fetch a document at the same time. Each occupies one of
# MAX_CONCURRENT_REQUESTS for up to ``services.REQUEST_SECONDS``.
MOST_ESTIMATES = 2

_fetching = threading.BoundedSemaphore(MOST_ESTIMATES)


class Estimate(TypedDict):
    """The cost of a detection. No job was created. For a collection, only `manifests` is known."""

    message: Message
    manifests: Annotated[Count, Field(description="The number of manifests: 1, or those that a collection lists.")]
    canvases: Annotated[Count | None, Field(description="The number of canvases.")]
    images: Annotated[Count | None, Field(description="The number of images to fetch, if none is cached.")]
    requests: Annotated[Count | None, Field(description="The number of requests to the servers of the library.")]
    bytes: Annotated[Count | None, Field(description="The size of the images, computed from their size in pixels.")]
    download_seconds: Annotated[
        float | None, Field(description="The duration of the download at the request limits of the library.")
    ]
    detection_seconds: Annotated[
        float | None, Field(description="The duration of the stage `run`, from the latest jobs; null without any.")
    ]
    unfinished_jobs: Annotated[Count, Field(description="The number of unfinished jobs of all client apps.")]


QueuedOrEstimate = TypeAliasType("QueuedOrEstimate", Queued | Estimate)


def estimate(detection: DetectionRequest) -> Estimate:
    """Estimate the cost of a detection.

    Raises:
        Busy: Too many estimates are in progress.
        RequestError: The document could not be fetched, or it is not a manifest, a collection or a list of images.
    """
    from app.iiif.estimate import estimate_download

    services = current_services
    size = services.choose_model_size(services.models.find(detection.model))
    longest = detection.choose_longest(services.settings.choose_longest_image(size))
    limits = Limits(services.settings.max_canvases)
    if not _fetching.acquire(blocking=False):
        raise Busy(f"{MOST_ESTIMATES} estimates are in progress already: try again in a minute.")
    try:
        document = fetch_without_pages(detection.manifest_url, services.impatient_fetcher, limits)
    except (FetchError, ManifestError) as error:
        raise RequestError(f"manifest_url cannot be estimated: {error.message}") from error
    finally:
        _fetching.release()
    found = estimate_download(document, services.host_rules, longest, cap_to_host_size=not detection.image_size)
    page_seconds = services.jobs.measure_page_seconds(DetectionRequest.kind)
    detection_seconds = page_seconds * found.images if page_seconds and found.images is not None else None
    if found.canvases is None:
        message = f"This is a collection: each of its {found.manifests} manifests would get its own job."
    else:
        whole = (found.seconds or 0.0) + (detection_seconds or 0.0)
        message = f"The job would fetch {found.images} images and take about {_format_duration(whole)}."
    return Estimate(
        message=message,
        manifests=found.manifests,
        canvases=found.canvases,
        images=found.images,
        requests=found.requests,
        bytes=found.bytes,
        download_seconds=None if found.seconds is None else round(found.seconds, 1),
        detection_seconds=None if detection_seconds is None else round(detection_seconds, 1),
        unfinished_jobs=services.jobs.count_unfinished(),
    )


def _format_duration(seconds: float) -> str:
    """Return a duration in the unit that a person would use."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
