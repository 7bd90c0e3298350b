"""IIIF collections → the addresses of their manifests, for Presentation 2 and 3.

https://iiif.io/api/presentation/2.1/#collection, https://iiif.io/api/presentation/2.1/#paging and
https://iiif.io/api/presentation/3.0/#51-collection. Nothing is fetched here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.errors import ManifestError
from app.iiif.json_ld import LONGEST_ID, read_address, read_id, read_kind, read_list, read_nodes

# Where a collection lists its members, and what they are when they do not say so themselves. Version 2.1 may list all
# of them in `members` and again in the two others; a page is a collection too.
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
        url: Where it came from.
        id: Its id as it names itself, or "".
        manifests: Addresses of the manifests in it and in the collections that it holds whole, in order, none twice.
        collections: Addresses of the collections in it that must be fetched, its next page among them.
    """

    url: str
    id: str
    manifests: tuple[str, ...]
    collections: tuple[str, ...]


def is_collection(document: dict[str, Any]) -> bool:
    """Tell whether a document is a collection, also when it forgets to say so."""
    kind = read_kind(document).lower()
    if kind or document.get("sequences"):
        return kind in _COLLECTIONS
    members = {read_kind(item).lower() for item in read_nodes(document.get("items"))}
    return not members.isdisjoint({"manifest", *_COLLECTIONS}) or any(
        document.get(place) for place in ("members", "manifests", "collections")
    )


def parse_collection(document: dict[str, Any], url: str, max_members: int | None = None) -> Collection:
    """Read a collection.

    Args:
        document: The JSON object.
        url: Where it came from; named in errors.
        max_members: Reading stops when there are more manifests than this, or more collections; None for no bound.

    Raises:
        ManifestError: There is nothing in it.
    """
    found: dict[str, dict[str, None]] = {"manifest": {}, "collection": {}}
    itself, limit = {url, read_id(document)}, math.inf if max_members is None else max_members
    for kind, address in _find_members(document):
        if kind == "manifest" or (kind == "collection" and address not in itself):
            found[kind][address] = None
            if len(found[kind]) > limit:
                break
    if not any(found.values()):
        raise ManifestError(f"{url} is a collection that lists no manifests: check that it is the address you mean.")
    return Collection(url, read_id(document)[:LONGEST_ID], tuple(found["manifest"]), tuple(found["collection"]))


def _find_members(document: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield what each member is, and its address; of a collection that is there whole, its members instead."""
    for place, meant in _PLACES.items():
        for member in read_nodes(document.get(place)):
            kind = "collection" if is_collection(member) else read_kind(member).lower() or meant
            held = kind == "collection" and any(read_list(member.get(inner)) for inner in _PLACES)
            if held and depth < _DEEPEST:
                yield from _find_members(member, depth + 1)
            elif address := read_address(member):
                yield kind, address
