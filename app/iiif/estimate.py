"""Estimate a download from the manifest alone: requests, bytes and seconds. No image is fetched."""

from collections import Counter
from dataclasses import dataclass

from app.iiif.canvas import CanvasImage
from app.iiif.collection import Collection
from app.iiif.hosts import HostRule, HostRules
from app.iiif.manifest import Manifest
from app.iiif.stated_sizes import choose_sample
from app.net.addresses import read_host

# Size of a JPEG file for each of its pixels: 200 scans, reduced to 800 pixels at quality 85, have 0.07 to 0.41 bytes.
BYTES_PER_PIXEL = 0.25
# Seconds in which an image service answers.
ANSWER_SECONDS = 0.3
# Shape of a page whose size the manifest does not state.
PAGE_RATIO = 0.75


@dataclass(frozen=True)
class DownloadEstimate:
    """The expected download of a manifest.

    Attributes:
        canvases: Number of canvases; None for a collection.
        images: Number of images to fetch; None for a collection.
        manifests: Number of manifests: 1, or those that the collection lists itself.
        requests: Number of requests, including the manifest.
        bytes: Size of all images.
        seconds: Duration at the request limits of each host, if no other job uses the host.
    """

    canvases: int | None
    images: int | None
    manifests: int
    requests: int | None = None
    bytes: int | None = None
    seconds: float | None = None


def estimate_download(
    document: Manifest | Collection, rules: HostRules, longest: int | None, cap_to_host_size: bool = True
) -> DownloadEstimate:
    """Estimate the download of the images of a manifest.

    Args:
        document: Manifest or collection.
        rules: Rules of the hosts.
        longest: Longer side of the images to fetch, in pixels; None for the full size.
        cap_to_host_size: Whether the ``image_size`` of a host's rule limits ``longest``.
    """
    if isinstance(document, Collection):
        return DownloadEstimate(None, None, len(document.manifests))
    images = [*dict.fromkeys(canvas.image for canvas in document.canvases if canvas.image)]
    by_host: dict[str, list[CanvasImage]] = {}
    for image in images:
        by_host.setdefault(read_host(image.base), []).append(image)
    requests = Counter({host: _count_requests(of_host, longest) for host, of_host in by_host.items()})
    uncapped = 0 if cap_to_host_size else longest
    seconds = [_estimate_seconds(rules.find(host), count, uncapped) for host, count in requests.items()]
    size = sum(_estimate_bytes(image, longest) for image in images)
    # The hosts are used at the same time.
    return DownloadEstimate(
        len(document.canvases), len(images), 1, requests.total() + 1, round(size), max(seconds, default=0.0)
    )


def _count_requests(images: list[CanvasImage], longest: int | None) -> int:
    """Return the number of requests to a host.

    images                             one each
    their ``info.json``                one for each image of a sample, and for each image of unknown size
    measuring the first reduced image  one; a single image then has no sample
    """
    stated = [image for image in images if image.service and image.width and image.height]
    unknown = [image for image in images if image.service and not (image.width and image.height)]
    is_measured = longest is not None and any(image.service and image.service.level > 0 for image in images)
    sample = 0 if is_measured and len(stated) == 1 else len(choose_sample(stated))
    return len(images) + sample + len(unknown) + is_measured


def _estimate_seconds(rule: HostRule, count: int, longest: int | None) -> float:
    interval = max(rule.interval_seconds, ANSWER_SECONDS / rule.connections)
    if rule.is_large(longest):
        interval = max(interval, rule.large_interval_seconds)
    return count * interval


def _estimate_bytes(image: CanvasImage, longest: int | None) -> float:
    if image.width and image.height:
        longer, ratio = max(image.width, image.height), min(image.width, image.height) / max(image.width, image.height)
    else:
        longer, ratio = longest or 4000, PAGE_RATIO
    if image.service and longest:
        longer = min(longer, longest)
    return BYTES_PER_PIXEL * longer * longer * ratio
