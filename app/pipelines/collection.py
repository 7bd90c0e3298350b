"""A collection → the addresses of the manifests in it, and in the collections in it."""

from collections import deque

from app.errors import FetchError, ManifestError
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import parse_document


def expand(first: Collection, fetcher: Fetcher, most: int) -> list[str]:
    """Return the addresses of all manifests of a collection, none twice: its own, then those of the collections in it.

    A part that does not come, or is no collection, stands among the manifests: the job that fetches it will say what
    is wrong with it.

    Args:
        first: The collection.
        fetcher: Fetches the collections in it.
        most: At most so many manifests, and so many collections.

    Raises:
        ManifestError: There are more.
    """
    manifests = dict.fromkeys(first.manifests)
    seen = {first.url, first.id}
    waiting = deque(first.collections)
    while waiting and max(len(manifests), len(seen)) <= most:
        url = waiting.popleft()
        if url in seen:
            continue
        seen.add(url)
        part = _fetch_part(url, fetcher)
        if part is None:
            manifests[url] = None
        else:
            manifests |= dict.fromkeys(part.manifests)
            waiting.extend(part.collections)
    if waiting or len(manifests) > most:
        raise ManifestError(
            f"{first.url} is a collection of more than {most} manifests (MAX_MANIFESTS): send its parts one by one."
        )
    return list(manifests)


def _fetch_part(url: str, fetcher: Fetcher) -> Collection | None:
    try:
        part = parse_document(fetcher.fetch_document(url), url)
    except (FetchError, ManifestError):
        return None
    return part if isinstance(part, Collection) else None
