"""Expand a collection into the URLs of its manifests, including those of nested collections."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app.errors import FetchError, ManifestError
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import parse_document

# Each manifest of a collection becomes a job. The root collection of a library may have a million.
MAX_MANIFESTS = 1000


def expand(first: Collection, fetcher: Fetcher, max_manifests: int, report: Callable[[int], None]) -> list[str]:
    """Return the URLs of all manifests of a collection without duplicates: its own, then those of nested collections.

    The URL of a nested collection that cannot be fetched or parsed is returned like a manifest. The job for this URL
    then reports the error.

    Args:
        first: Collection to expand.
        fetcher: HTTP client.
        max_manifests: Largest number of manifests, and of nested collections.
        report: Called before each fetch with the number of collections fetched so far; raises to stop the job.

    Raises:
        ManifestError: There are more manifests or nested collections.
    """
    manifests, waiting = dict.fromkeys(first.manifests), deque(first.collections)
    seen, fetched = {first.url, first.id, *first.collections}, 0
    while waiting and len(manifests) <= max_manifests and fetched + len(waiting) <= max_manifests:
        report(fetched)
        part = _fetch_part(waiting.popleft(), fetcher, max_manifests)
        fetched += 1
        manifests |= dict.fromkeys(part.manifests)
        waiting.extend(url for url in part.collections if url not in seen)
        seen.update(part.collections)
    if waiting or len(manifests) > max_manifests:
        raise ManifestError(
            f"{first.url} is a collection of more than {max_manifests} manifests: send its parts one by one."
        )
    return list(manifests)


def _fetch_part(url: str, fetcher: Fetcher, max_manifests: int) -> Collection:
    with suppress(FetchError, ManifestError):
        part = parse_document(fetcher.fetch_document(url), url, max_members=max_manifests)
        if isinstance(part, Collection):
            return part
    return Collection(url, "", manifests=(url,), collections=())
