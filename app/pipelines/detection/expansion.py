"""A collection → the addresses of the manifests in it, and in the collections in it."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app.errors import FetchError, ManifestError
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import parse_document

# Most manifests of a collection: a job each. A library's root collection may have a million.
MAX_MANIFESTS = 1000


def expand(first: Collection, fetcher: Fetcher, max_manifests: int, report: Callable[[int], None]) -> list[str]:
    """Return the addresses of all manifests of a collection, none twice: its own, then those of the collections in it.

    A part that does not come, or is no collection, stands among the manifests: the job that fetches it will say what
    is wrong with it.

    Args:
        first: The collection.
        fetcher: Fetches the collections in it.
        max_manifests: Largest number of manifests, and of nested collections to read.
        report: Called before each fetch with how many there were; raises when the job is no longer wanted.

    Raises:
        ManifestError: There are more.
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
