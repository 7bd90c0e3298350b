"""IIIF manifests → canvases, for Presentation 2 and 3.

https://iiif.io/api/presentation/2.1/ and https://iiif.io/api/presentation/3.0/. Libraries take liberties with both:
a list stands where one thing is expected and the reverse, ``@id`` for ``id``. Whatever a server sends, parsing
either returns a :class:`Manifest` or raises :class:`~app.errors.ManifestError`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from app.errors import ManifestError
from app.iiif.image_api import ImageService, parse_service
from app.iiif.json_ld import read_id, read_kind, read_list, read_objects, read_size, read_strings

# region/size/rotation/quality.format behind an image's id: https://iiif.io/api/image/3.0/#4-image-requests
_IMAGE_REQUEST = re.compile(r"/[^/]+/[^/]+/!?[\d.]+/(?:default|native|color|gray|bitonal)(?:\.\w+)?$")
_WHOLE_REQUEST = re.compile(r"/full/(?:full|max)/0/\w+(?:\.\w+)?$")
_DEEPEST = 5
_MEDIA = {"Sound": "sound", "Audio": "sound", "Video": "video", "MovingImage": "video"}


@dataclass(frozen=True)
class CanvasImage:
    """The image painted on a canvas.

    Attributes:
        url: The image resource's own address.
        width, height: Size of the full-size image in pixels as the manifest says, or None.
        service: The image service, when there is one.
    """

    url: str
    width: int | None
    height: int | None
    service: ImageService | None

    @property
    def own_name(self) -> str:
        """The last part of the image's id: of its service, or of its address without the image request."""
        base = _path(self.service.id) if self.service else _IMAGE_REQUEST.sub("", _path(self.url))
        return base.rstrip("/").rpartition("/")[2]

    @property
    def is_reduced(self) -> bool:
        """Whether the address asks an image service for less than the whole image at its full size."""
        path = _path(self.url)
        return bool(_IMAGE_REQUEST.search(path)) and not _WHOLE_REQUEST.search(path)


@dataclass(frozen=True)
class Canvas:
    """A canvas: one view of the document.

    Attributes:
        number: 1-based place in the manifest.
        id: The canvas's id, or "" when it has none.
        image: The first image painted on it; of a Choice, the default.
        reason: Why there is no image, when there is none.
    """

    number: int
    id: str
    image: CanvasImage | None
    reason: str = ""


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
        return own if ".jpg" in own and not re.search(r"\s", own) else f"{self.ref}_{canvas.number:04d}.jpg"


def build_manifest_ref(manifest_id: str, manifest_url: str) -> str:
    """Return the client apps' label of a manifest.

    An id without the word ``manifest`` gives its last path part; with it, the last but one. When that part says
    ``manifest`` too, or there is no id, the whole URL is the label, without ``manifest`` and ``json``.

    >>> build_manifest_ref("https://example.org/auto/manuscript/ms-3/manifest.json", "")
    'ms-3'
    """
    parts = ["", "", *filter(None, _path(manifest_id).split("/"))]
    part = parts[-2] if "manifest" in manifest_id else parts[-1]
    label = _strip_label(part)
    if not label or "manifest" in part:
        label = _strip_label(manifest_url.replace("manifest", "").replace("json", ""))
    return label


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return url


def _strip_label(text: str) -> str:
    for word in ("/", ".", ":", "https", "http", "www"):
        text = text.replace(word, "")
    return re.sub(r"\s", "_", text)


def parse_manifest(data: bytes, url: str, max_canvases: int = 5000) -> Manifest:
    """Read a manifest.

    Args:
        data: The JSON document.
        url: Where it came from; named in errors.
        max_canvases: A longer document is refused.

    Raises:
        ManifestError: It is not a manifest with canvases, with the reason.
    """
    document = _parse_json(data, url)
    kind = read_kind(document)
    if kind.endswith("Collection"):
        raise ManifestError(f"{url} is a collection, not a manifest: send the manifests that it lists, one by one.")
    entries, parse = _find_canvases(document)
    if not read_objects(entries):
        shown = "has no canvases" if kind in ("", "Manifest") else f"is a IIIF {kind[:40]}"
        raise ManifestError(f"{url} {shown}: check that it is the address of a IIIF manifest.")
    if len(entries) > max_canvases:
        raise ManifestError(f"{url} has {len(entries)} canvases; at most {max_canvases} are accepted (MAX_CANVASES).")
    return Manifest(url, read_id(document), tuple(parse(number, entry) for number, entry in enumerate(entries, 1)))


def _parse_json(data: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        raise ManifestError(f"{url} is {shown}: check that it is the address of a IIIF manifest.") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{url} is JSON but not a IIIF manifest, which is an object.")
    return document


def _find_canvases(document: dict[str, Any]) -> tuple[list[Any], Callable[[int, Any], Canvas]]:
    """Return the entries of a manifest, each a canvas or what stands in its place, and what reads them."""
    for sequence in read_objects(document.get("sequences")):
        if entries := read_list(sequence.get("canvases")):
            return entries, _parse_canvas_2
    return read_list(document.get("items")), _parse_canvas_3


def _parse_canvas_2(number: int, entry: Any) -> Canvas:
    canvas = entry if isinstance(entry, dict) else {"id": entry}
    annotations = read_objects(canvas.get("images"))
    return _build_canvas(number, canvas, [body for each in annotations for body in read_objects(each.get("resource"))])


def _parse_canvas_3(number: int, entry: Any) -> Canvas:
    canvas = entry if isinstance(entry, dict) else {"id": entry}
    annotations = [each for page in read_objects(canvas.get("items")) for each in read_objects(page.get("items"))]
    painted = [each for each in annotations if "painting" in (read_strings(each.get("motivation")) or ["painting"])]
    return _build_canvas(number, canvas, [body for each in painted for body in read_objects(each.get("body"))])


def _build_canvas(number: int, canvas: dict[str, Any], bodies: list[dict[str, Any]]) -> Canvas:
    parts = [part for body in bodies for part in _unfold(body)]
    image = next(filter(None, map(_parse_image, parts)), None)
    media = next((_MEDIA[kind] for kind in map(read_kind, parts) if kind in _MEDIA), None)
    reason = f"This canvas holds {media}, not an image." if media else "The manifest has no image on this canvas."
    return Canvas(number, read_id(canvas), image, "" if image else reason)


def _unfold(resource: dict[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield what a resource offers: of a Choice the default, then its items; of a specific resource its source."""
    if depth < _DEEPEST:
        for inner in ("default", "item", "items", "source", "full"):
            for part in read_objects(resource.get(inner)):
                yield from _unfold(part, depth + 1)
    yield resource


def _parse_image(resource: dict[str, Any]) -> CanvasImage | None:
    url = read_id(resource)
    services = ((block, parse_service(block)) for block in read_objects(resource.get("service")))
    block, service = next((found for found in services if found[1]), ({}, None))
    if read_kind(resource) not in ("Image", "") or not (url or service):
        return None
    width, height = read_size(block.get("width")), read_size(block.get("height"))
    image = CanvasImage(url, width, height, service)
    if (width and height) or image.is_reduced:
        # The resource's own size would be that of the reduced image.
        return image
    return replace(image, width=read_size(resource.get("width")), height=read_size(resource.get("height")))
