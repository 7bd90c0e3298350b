"""Parse IIIF manifests into canvases (Presentation 2 and 3).

https://iiif.io/api/presentation/2.1/, https://iiif.io/api/presentation/3.0/

Deviations from the specifications that libraries make are accepted, see :mod:`app.iiif.json_ld`. For any input, parsing
returns a :class:`Manifest` or a :class:`~app.iiif.collection.Collection`, or raises :class:`~app.errors.ManifestError`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from app.errors import ManifestError
from app.iiif.canvas import Canvas, parse_canvas
from app.iiif.collection import Collection, is_collection, parse_collection
from app.iiif.json_ld import LONGEST_ID, read_id, read_json, read_kind, read_list, read_objects, read_path

LONGEST_NAME = 200
# Properties that describe a document, in Presentation 2 or 3.
_DESCRIPTIVE = (
    *("label", "metadata", "summary", "description", "rights", "license", "requiredStatement", "attribution"),
    "viewingDirection",
)
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Manifest:
    """A manifest.

    Attributes:
        url: URL from which it was fetched.
        id: ID that it states, or "".
        canvases: Canvases in order.
        description: Label, metadata, rights and similar properties, as the manifest has them.
        file_ref: Label of a document that is no IIIF manifest, or "".
    """

    url: str
    id: str
    canvases: tuple[Canvas, ...]
    description: Mapping[str, Any] = field(default_factory=dict, hash=False)
    file_ref: str = ""

    @property
    def ref(self) -> str:
        """The label by which client apps identify the document. It is not unique, so never use it as a cache key."""
        return self.file_ref or build_manifest_ref(self.id, self.url)

    def image_name(self, canvas: Canvas) -> str:
        """Return the name of the image of a canvas in the annotation file.

        Other sources give names, see :mod:`app.sources`. The own name of a IIIF image counts if it contains ``.jpg``.
        """
        if canvas.name:
            return canvas.name
        own = canvas.image.own_name if canvas.image else ""
        if ".jpg" in own and len(own) <= LONGEST_NAME and not _UNPRINTABLE.search(own):
            return own
        return number_name(self.ref, canvas.number)


def number_name(ref: str, number: int) -> str:
    """Return the name of an image without a name of its own: ``<ref>_0001.jpg``."""
    end = f"_{number:04d}.jpg"
    return ref[: LONGEST_NAME - len(end)] + end


def build_manifest_ref(manifest_id: str, manifest_url: str) -> str:
    """Return the label by which client apps identify a manifest.

        ID without ``manifest``             last path segment of the ID
        ID with ``manifest``                second to last path segment of the ID
        segment empty or with ``manifest``  URL without ``manifest`` and ``json``

    >>> build_manifest_ref("https://example.org/auto/manuscript/ms-3/manifest.json", "")
    'ms-3'
    """
    parts = ["", "", *filter(None, read_path(manifest_id).split("/"))]
    part = parts[-2] if "manifest" in manifest_id else parts[-1]
    label = _strip_label(part)
    if not label or "manifest" in part:
        label = _strip_label(manifest_url.replace("manifest", "").replace("json", ""))
    return label[:LONGEST_NAME]


def build_file_ref(name: str) -> str:
    """Return the label of a document that is a file: its name without the extension, as in :func:`build_manifest_ref`.

    >>> build_file_ref("Codex 12.pdf")
    'Codex_12'
    """
    return _strip_label(PurePosixPath(name).stem)[:LONGEST_NAME]


def _strip_label(text: str) -> str:
    for word in ("/", ".", ":", "https", "http", "www"):
        text = text.replace(word, "")
    return _UNPRINTABLE.sub("_", text)


def parse_document(
    data: bytes, url: str, max_canvases: int = 5000, max_members: int | None = None
) -> Manifest | Collection:
    """Parse a manifest or a collection.

    Args:
        data: JSON document.
        url: URL from which the document was fetched; named in errors.
        max_canvases: Largest number of canvases that is accepted.
        max_members: Number of members after which parsing a collection stops, see :func:`parse_collection`.

    Raises:
        ManifestError: The document is neither a manifest with canvases nor a collection with members.
    """
    document = _parse_json(data, url)
    if is_collection(document):
        return parse_collection(document, url, max_members)
    return _build_manifest(document, url, max_canvases)


def _parse_json(data: bytes, url: str) -> dict[str, Any]:
    try:
        documents = read_objects(read_json(data))
    except ValueError as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        raise ManifestError(f"{url} is {shown}: check that it is the URL of a IIIF manifest.") from error
    if not documents:
        raise ManifestError(f"{url} is not a IIIF manifest: a manifest is a JSON object.")
    return next((each for each in documents if read_kind(each) in ("Manifest", "Collection")), documents[0])


def _build_manifest(document: dict[str, Any], url: str, max_canvases: int) -> Manifest:
    (entries, holder), kind = _find_canvases(document), read_kind(document)
    if not read_objects(entries):
        shown = "has no canvases" if _may_be_manifest(kind) else f"is a IIIF {kind}"
        raise ManifestError(f"{url} {shown}: check that it is the URL of a IIIF manifest.")
    if len(entries) > max_canvases:
        raise ManifestError(f"{url} has {len(entries)} canvases; at most {max_canvases} are accepted (MAX_CANVASES).")
    # Version 3 may describe a shared service at the top level; canvases refer to it by its ID.
    services = {read_id(block): block for block in read_objects(document.get("services"))}
    canvases = (parse_canvas(number, entry, services, url) for number, entry in enumerate(entries, 1))
    description = {name: document[name] for name in _DESCRIPTIVE if name in document}
    if "viewingDirection" in holder:  # that of a sequence overrides that of the manifest
        description["viewingDirection"] = holder["viewingDirection"]
    return Manifest(url, read_id(document)[:LONGEST_ID], tuple(canvases), description)


def _may_be_manifest(kind: str) -> bool:
    return kind.lower().endswith("manifest") or not re.fullmatch(r"\w{1,40}", kind)


def _find_canvases(document: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the entries of the list of canvases, which may be malformed, and the object that has the list.

    Sequences are alternative orders of the same canvases. The first sequence with canvases is used.
    """
    for sequence in read_objects(document.get("sequences")):
        if entries := read_list(sequence.get("canvases")):
            return entries, sequence
    return read_list(document.get("items")) if _may_be_manifest(read_kind(document)) else [], document
