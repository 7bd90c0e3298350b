"""IIIF manifests → canvases, for Presentation 2 and 3.

https://iiif.io/api/presentation/2.1/ and https://iiif.io/api/presentation/3.0/. Libraries take liberties with both:
a list stands where one thing is expected and the reverse, ``@id`` for ``id``. Whatever a server sends, parsing
either returns a :class:`Manifest` or raises :class:`~app.errors.ManifestError`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.errors import ManifestError
from app.iiif.image_api import ImageService, parse_service

# region/size/rotation/quality.format behind an image's id: https://iiif.io/api/image/3.0/#4-image-requests
_IMAGE_REQUEST = re.compile(r"/[^/]+/[^/]+/!?[\d.]+/(?:default|native|color|gray|bitonal)(?:\.\w+)?$")


@dataclass(frozen=True)
class CanvasImage:
    """The image painted on a canvas.

    Attributes:
        url: The image resource's own address.
        width, height: Size in image pixels as the manifest says, or None.
        service: The image service, when there is one.
    """

    url: str
    width: int | None
    height: int | None
    service: ImageService | None

    @property
    def own_name(self) -> str:
        """The last part of the image's id: of its service, or of its address without the image request."""
        base = self.service.id if self.service else _IMAGE_REQUEST.sub("", self.url)
        return urlsplit(base).path.rstrip("/").rpartition("/")[2]


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
    parts = [part for part in _path(manifest_id).split("/") if part]
    if "manifest" not in manifest_id:
        part = parts[-1] if parts else ""
    else:
        part = parts[-2] if len(parts) > 1 else ""
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
    kind = str(document.get("type") or document.get("@type") or "")
    if kind.endswith("Collection"):
        raise ManifestError(f"{url} is a collection, not a manifest: send the manifests that it lists, one by one.")
    if "items" in document and not document.get("sequences"):
        canvases = [_parse_canvas_3(number, item) for number, item in enumerate(_dicts(document["items"]), 1)]
    else:
        sequence = next(_dicts(document.get("sequences")), {})
        canvases = [_parse_canvas_2(number, item) for number, item in enumerate(_dicts(sequence.get("canvases")), 1)]
    if not canvases:
        raise ManifestError(f"{url} has no canvases: check that it is the address of a IIIF manifest.")
    if len(canvases) > max_canvases:
        raise ManifestError(f"{url} has {len(canvases)} canvases; at most {max_canvases} are accepted (MAX_CANVASES).")
    return Manifest(url, _id(document), tuple(canvases))


def _parse_json(data: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        raise ManifestError(f"{url} is {shown}: check that it is the address of a IIIF manifest.") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{url} is JSON but not a IIIF manifest, which is an object.")
    return document


def _parse_canvas_2(number: int, canvas: dict[str, Any]) -> Canvas:
    for annotation in _dicts(canvas.get("images")):
        for resource in _dicts(annotation.get("resource")):
            if image := _parse_image(resource):
                return Canvas(number, _id(canvas), image)
    return Canvas(number, _id(canvas), None, "The manifest has no image on this canvas.")


def _parse_canvas_3(number: int, canvas: dict[str, Any]) -> Canvas:
    kinds: list[str] = []
    for page in _dicts(canvas.get("items")):
        for annotation in _dicts(page.get("items")):
            if annotation.get("motivation", "painting") not in ("painting", ["painting"]):
                continue
            for body in _dicts(annotation.get("body")):
                kinds.append(str(body.get("type")))
                if image := _parse_image(body):
                    return Canvas(number, _id(canvas), image)
    media = {"Sound": "sound", "Audio": "sound", "Video": "video"}
    heard = next((media[kind] for kind in kinds if kind in media), None)
    reason = f"This canvas holds {heard}, not an image." if heard else "The manifest has no image on this canvas."
    return Canvas(number, _id(canvas), None, reason)


def _parse_image(resource: dict[str, Any], depth: int = 0) -> CanvasImage | None:
    """Return the image of a resource; of a Choice its default, of a specific resource its source."""
    if depth > 5:
        return None
    for inner in ("default", "item", "items", "source", "full"):
        for part in _dicts(resource.get(inner)):
            if image := _parse_image(part, depth + 1):
                return image
    kind = str(resource.get("type") or resource.get("@type") or "")
    services = [parse_service(service) for service in _dicts(resource.get("service"))]
    service = next((service for service in services if service), None)
    url = _id(resource)
    if not (kind.endswith("Image") or (not kind and (service or url))) or not (url or service):
        return None
    return CanvasImage(url, _size(resource.get("width")), _size(resource.get("height")), service)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a value that should be a list of objects, or is one object."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def _id(thing: dict[str, Any]) -> str:
    value = thing.get("id") or thing.get("@id")
    return value.strip() if isinstance(value, str) else ""


def _size(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < 1_000_000_000 else None
