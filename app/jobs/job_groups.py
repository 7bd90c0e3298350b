"""The groups of a similarity job: images of all its documents that show the same block. They are cached in its folder.

A group is a JSON object, as in the answer of ``GET /jobs/<id>/groups``, without the URLs on this server.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from app.jobs.pairs import ComparisonResult
from app.similarity.groups import Group, Link, Member, find_groups
from app.similarity.scores import ComparedDocument
from app.similarity.verified_pairs import SAME_BLOCK, Verification
from app.storage import JobFolder, write_atomic

# Change this when the groups of the same pairs change.
_VERSION = 1


def load_groups(folder: JobFolder, documents: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the groups of a job, the largest first; None if no pairs of documents have been verified.

    Args:
        folder: Folder of the job.
        documents: Documents of the job's request by ID, in the order of the request.
    """
    verified = sorted((path.name, path.stat().st_size) for path in folder.path.glob("scores/*.verified"))
    if not verified:
        return None
    compared = sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.glob("documents/*.compared"))
    key = hashlib.sha256(json.dumps([_VERSION, verified, compared]).encode()).hexdigest()
    try:
        cached = json.loads(folder.groups.read_bytes())
    except FileNotFoundError:
        cached = {}
    if cached.get("key") != key:
        cached = {"key": key, "groups": _Builder(ComparisonResult(folder, documents)).build()}
        write_atomic(folder.groups, json.dumps(cached, ensure_ascii=False).encode())
    groups: list[dict[str, Any]] = cached["groups"]
    return groups


class _Builder:
    """Builds the groups from the verified pairs of a job."""

    def __init__(self, result: ComparisonResult) -> None:
        self._images: list[tuple[ComparedDocument, int]] = []
        self._starts: dict[str, int] = {}
        self._verified: dict[tuple[int, int], Verification] = {}
        for found in result.list_verified(SAME_BLOCK):
            first, second = self._place(found.a), self._place(found.b)
            for pair in found.pairs:
                self._verified[first + pair.first, second + pair.second] = pair.verification

    def build(self) -> list[dict[str, Any]]:
        links = (Link(*images, found.probability) for images, found in self._verified.items())
        return [self._describe(number, group) for number, group in enumerate(find_groups(links), 1)]

    def _place(self, document: ComparedDocument) -> int:
        """Return the number of the first image of a document; images are numbered over all documents."""
        if document.doc_id not in self._starts:
            self._starts[document.doc_id] = len(self._images)
            self._images += ((document, place) for place in range(len(document.names)))
        return self._starts[document.doc_id]

    def _describe(self, number: int, group: Group) -> dict[str, Any]:
        members = [self._describe_member(member) for member in group.members]
        return {
            "group": number,
            "size": len(members),
            "documents": sorted({member["document"] for member in members}),
            "related": [place + 1 for place in group.related],
            "members": members,
        }

    def _describe_member(self, member: Member) -> dict[str, Any]:
        document, place = self._images[member.image]
        other, partner = self._images[member.partner]
        found = self._verified.get((member.image, member.partner))
        region = found.region_1 if found else None
        if found is None:
            found = self._verified[member.partner, member.image]
            region = found.region_2
        return {
            "document": document.doc_id,
            "name": document.names[place],
            "url": document.urls[place],
            "region": region,
            "partner": {"document": other.doc_id, "name": other.names[partner]},
            "verdict": found.verdict,
            "probability": round(found.probability, 4),
        }
