"""Parse IIIF collections into the URLs of their manifests (Presentation 2 and 3).

https://iiif.io/api/presentation/2.1/#collection, https://iiif.io/api/presentation/2.1/#paging and
https://iiif.io/api/presentation/3.0/#51-collection. Nothing is fetched here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.errors import ManifestError
from app.iiif.json_ld import LONGEST_ID, read_address, read_id, read_kind, read_list, read_nodes

# Properties that list members, each with the type of a member that does not state its own. Version 2.1 may repeat
# `manifests` and `collections` in `members`. A page of a collection counts as a collection.
_PLACES = {
    "members": "manifest",
    "manifests": "manifest",
    "collections": "collection",
    "items": "manifest",
    "first": "collection",
    "next": "collection",
}
_COLLECTIONS = {"collection", "collectionpage"}
_DEEPEST = 20


@dataclass(frozen=True)
class Collection:
    """A list of documents.

    Attributes:
        url: URL from which the collection was fetched.
        id: ID that the collection states, or "".
        manifests: URLs of its manifests and of those in embedded collections, in order and without duplicates.
        collections: URLs of nested collections that must be fetched, including the next page.
    """

    url: str
    id: str
    manifests: tuple[str, ...]
    collections: tuple[str, ...]


def is_collection(document: dict[str, Any]) -> bool:
    """Return whether a document is a collection, even if its type is missing."""
    kind = read_kind(document).lower()
    if kind or document.get("sequences"):
        return kind in _COLLECTIONS
    members = {read_kind(item).lower() for item in read_nodes(document.get("items"))}
    return not members.isdisjoint({"manifest", *_COLLECTIONS}) or any(
        document.get(place) for place in ("members", "manifests", "collections")
    )


def parse_collection(document: dict[str, Any], url: str, max_members: int | None = None) -> Collection:
    """Parse a collection.

    Args:
        document: JSON object of the collection.
        url: URL from which the collection was fetched; relative IDs are resolved against it.
        max_members: Parsing stops after more manifests or more collections than this; None for no limit.

    Raises:
        ManifestError: The collection is empty.
    """
    found: dict[str, dict[str, None]] = {"manifest": {}, "collection": {}}
    itself, limit = {url, read_address(document, url)}, math.inf if max_members is None else max_members
    for kind, address in _find_members(document, url):
        if kind == "manifest" or (kind == "collection" and address not in itself):
            found[kind][address] = None
            if len(found[kind]) > limit:
                break
    if not any(found.values()):
        raise ManifestError(f"{url} is a collection that lists no manifests: check the URL.")
    return Collection(url, read_id(document)[:LONGEST_ID], tuple(found["manifest"]), tuple(found["collection"]))


def _find_members(document: dict[str, Any], url: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the type and the URL of each member. An embedded collection yields its own members instead."""
    for place, meant in _PLACES.items():
        for member in read_nodes(document.get(place)):
            kind = "collection" if is_collection(member) else read_kind(member).lower() or meant
            held = kind == "collection" and any(read_list(member.get(inner)) for inner in _PLACES)
            if held and depth < _DEEPEST:
                yield from _find_members(member, url, depth + 1)
            elif address := read_address(member, url):
                yield kind, address
