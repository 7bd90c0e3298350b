"""IIIF manifests → canvases, for Presentation 2 and 3.

https://iiif.io/api/presentation/2.1/ and https://iiif.io/api/presentation/3.0/. Libraries take liberties with both:
a list stands where one thing is expected and the reverse, ``@id`` for ``id``. Whatever a server sends, parsing
either returns a :class:`Manifest` or a :class:`~app.iiif.collection.Collection`, or raises
:class:`~app.errors.ManifestError`.
"""

import re
from dataclasses import dataclass
from typing import Any

from app.errors import ManifestError
from app.iiif.canvas import Canvas, parse_canvas
from app.iiif.collection import Collection, is_collection, parse_collection
from app.iiif.json_ld import LONGEST_ID, read_id, read_json, read_kind, read_list, read_objects, read_path

LONGEST_NAME = 200
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Manifest:
    """A document: its address, its id as it names itself ("" when it does not) and its canvases in order."""

    url: str
    id: str
    canvases: tuple[Canvas, ...]

    @property
    def ref(self) -> str:
        """The label by which client apps know the document. Not unique: never a cache key."""
        return build_manifest_ref(self.id, self.url)

    def image_name(self, canvas: Canvas) -> str:
        """The name of a canvas's image in the annotation file."""
        own = canvas.image.own_name if canvas.image else ""
        if ".jpg" in own and len(own) <= LONGEST_NAME and not _UNPRINTABLE.search(own):
            return own
        number = f"_{canvas.number:04d}.jpg"
        return self.ref[: LONGEST_NAME - len(number)] + number


def build_manifest_ref(manifest_id: str, manifest_url: str) -> str:
    """Return the client apps' label of a manifest.

    An id without the word ``manifest`` gives its last path part; with it, the last but one. When that part says
    ``manifest`` too, or there is no id, the whole URL is the label, without ``manifest`` and ``json``.

    >>> build_manifest_ref("https://example.org/auto/manuscript/ms-3/manifest.json", "")
    'ms-3'
    """
    parts = ["", "", *filter(None, read_path(manifest_id).split("/"))]
    part = parts[-2] if "manifest" in manifest_id else parts[-1]
    label = _strip_label(part)
    if not label or "manifest" in part:
        label = _strip_label(manifest_url.replace("manifest", "").replace("json", ""))
    return label[:LONGEST_NAME]


def _strip_label(text: str) -> str:
    for word in ("/", ".", ":", "https", "http", "www"):
        text = text.replace(word, "")
    return _UNPRINTABLE.sub("_", text)


def parse_document(
    data: bytes, url: str, max_canvases: int = 5000, max_members: int | None = None
) -> Manifest | Collection:
    """Read a manifest or a collection.

    Args:
        data: The JSON document.
        url: Where it came from; named in errors.
        max_canvases: A longer manifest is refused.
        max_members: A longer collection is not read to its end, see :func:`parse_collection`.

    Raises:
        ManifestError: It is neither a manifest with canvases nor a collection with members, with the reason.
    """
    document = _parse_json(data, url)
    if is_collection(document):
        return parse_collection(document, url, max_members)
    return _build_manifest(document, url, max_canvases)


def parse_manifest(data: bytes, url: str, max_canvases: int = 5000) -> Manifest:
    """Read a manifest, as :func:`parse_document`; a collection is refused.

    Raises:
        ManifestError: It is not a manifest with canvases, with the reason.
    """
    document = _parse_json(data, url)
    if is_collection(document):
        raise ManifestError(f"{url} is a collection, not a manifest: send the manifests that it lists, one by one.")
    return _build_manifest(document, url, max_canvases)


def _parse_json(data: bytes, url: str) -> dict[str, Any]:
    try:
        documents = read_objects(read_json(data))
    except ValueError as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        raise ManifestError(f"{url} is {shown}: check that it is the address of a IIIF manifest.") from error
    if not documents:
        raise ManifestError(f"{url} is JSON but not a IIIF manifest, which is an object.")
    return next((each for each in documents if read_kind(each) in ("Manifest", "Collection")), documents[0])


def _build_manifest(document: dict[str, Any], url: str, max_canvases: int) -> Manifest:
    entries, kind = _find_canvases(document), read_kind(document)
    if not read_objects(entries):
        shown = "has no canvases" if _may_be_manifest(kind) else f"is a IIIF {kind}"
        raise ManifestError(f"{url} {shown}: check that it is the address of a IIIF manifest.")
    if len(entries) > max_canvases:
        raise ManifestError(f"{url} has {len(entries)} canvases; at most {max_canvases} are accepted (MAX_CANVASES).")
    # Version 3 may describe a service once, here, and name it by its id further down.
    services = {read_id(block): block for block in read_objects(document.get("services"))}
    canvases = (parse_canvas(number, entry, services) for number, entry in enumerate(entries, 1))
    return Manifest(url, read_id(document)[:LONGEST_ID], tuple(canvases))


def _may_be_manifest(kind: str) -> bool:
    return kind.lower().endswith("manifest") or not re.fullmatch(r"\w{1,40}", kind)


def _find_canvases(document: dict[str, Any]) -> list[Any]:
    """Return the entries of a manifest, each a canvas or what stands in its place.

    Of several sequences, which are orders of the same canvases, the first that has some.
    """
    for sequence in read_objects(document.get("sequences")):
        if entries := read_list(sequence.get("canvases")):
            return entries
    return read_list(document.get("items")) if _may_be_manifest(read_kind(document)) else []
