"""A canvas of a manifest, and the images painted on it, for Presentation 2 and 3.

https://iiif.io/api/presentation/2.1/#canvas, https://iiif.io/api/presentation/3.0/#53-canvas. Nothing here raises,
whatever a server sent: a canvas on which no image can be found says why.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.iiif.image_api import ImageService, asks_for_less, derive_service, parse_service, strip_request
from app.iiif.json_ld import (
    LONGEST_ID,
    read_address,
    read_id,
    read_ids,
    read_kind,
    read_nodes,
    read_objects,
    read_path,
    read_size,
    read_strings,
)

_DEEPEST = 8
_MEDIA = ("sound", "video", "a 3D model")
# What a resource holds, by its type, the first part of its format, or the ending of its address.
_IMAGE = "an image"
_CONTENTS = {
    **dict.fromkeys(("image", "stillimage", "jpg", "jpeg", "png", "tif", "tiff", "webp", "jp2", "gif"), _IMAGE),
    **dict.fromkeys(("sound", "audio", "mp3", "m4a", "wav", "ogg", "flac"), "sound"),
    **dict.fromkeys(("video", "movingimage", "mp4", "webm", "mov", "mpd", "m3u8"), "video"),
    **dict.fromkeys(("model", "physicalobject", "glb", "gltf", "obj", "stl"), "a 3D model"),
    **dict.fromkeys(("pdf",), "a PDF document"),
    **dict.fromkeys(("text", "textualbody", "contentastext", "html", "txt", "vtt"), "text"),
    **dict.fromkeys(("dataset",), "a data set"),
}
Services = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class CanvasImage:
    """An image painted on a canvas.

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
        base = self.service.id if self.service else strip_request(self.url)
        return read_path(base).rstrip("/").rpartition("/")[2]

    @property
    def is_reduced(self) -> bool:
        """Whether the address asks an image service for less than the whole image at its full size."""
        return asks_for_less(self.url)


@dataclass(frozen=True)
class Canvas:
    """A canvas: one view of the document.

    Attributes:
        number: 1-based place in the manifest.
        id: The canvas's id, or "" when it has none.
        images: Every image painted on it, in the order of the manifest, none twice; of a Choice all alternatives, the
            default first; of a part of an image the whole.
        reason: Why there is no image, when there is none.
        width, height: Of the canvas, in its own units, or None. Not the image's size in pixels.
    """

    number: int
    id: str
    images: tuple[CanvasImage, ...]
    reason: str = ""
    width: int | None = None
    height: int | None = None

    @property
    def image(self) -> CanvasImage | None:
        """The image that is looked at: the first.

        This is the one rule for several images, whether they are alternatives, lie side by side or one upon the other.
        The first is the default of a Choice and the ground on which the others are painted, and its pixels are those
        in which the boxes are measured.
        """
        return self.images[0] if self.images else None


def parse_canvas(number: int, entry: Any, services: Services) -> Canvas:
    """Read a canvas, or what stands in its place.

    Args:
        number: Its 1-based place in the manifest.
        entry: What stands there.
        services: Services that the manifest describes once for all its canvases, by id.
    """
    canvas = next(iter(read_nodes(entry)), {})
    resources = _find_resources(canvas)
    images: dict[str, CanvasImage] = {}
    for image in filter(None, (_parse_image(resource, services) for resource in resources)):
        images.setdefault(image.service.id if image.service else image.url, image)
    size = read_size(canvas.get("width")), read_size(canvas.get("height"))
    reason = "" if images else _explain(canvas, resources)
    return Canvas(number, read_id(canvas)[:LONGEST_ID], tuple(images.values()), reason, *size)


def _find_resources(canvas: dict[str, Any], depth: int = 0) -> list[dict[str, Any]]:
    """Return what is painted on a canvas, of version 2 or 3."""
    pages = read_objects(canvas.get("items"))
    annotations = [note for page in pages for note in read_objects(page.get("items")) or [page]]
    found = []
    for annotation in [*read_objects(canvas.get("images")), *annotations]:
        purposes = read_ids(annotation.get("motivation"))
        if not purposes or any("painting" in purpose.lower() for purpose in purposes):
            bodies = read_nodes(annotation.get("resource") or annotation.get("body"))
            found += [part for body in bodies for part in _unfold(body, depth)]
    return found


def _unfold(resource: dict[str, Any], depth: int) -> list[dict[str, Any]]:
    """Return a resource, or what it stands for.

    A Choice stands for its default and then its items, a canvas for what is painted on it, and a part of an image or an
    image that is turned (a specific resource) for its source as it is: boxes are measured in the whole image.
    """
    kind = read_kind(resource)
    if depth == _DEEPEST or kind.lower() in _CONTENTS:
        return [resource]
    if kind == "Canvas":
        return _find_resources(resource, depth + 1)
    places = ("default", "item", "items", "source", "full")
    parts = [part for place in places for part in read_nodes(resource.get(place))]
    return [each for part in parts for each in _unfold(part, depth + 1)] or [resource]


def _parse_image(resource: dict[str, Any], services: Services) -> CanvasImage | None:
    url, content = read_address(resource), _find_content(resource)
    pairs = ((block, parse_service(block, url)) for block in _list_services(resource, services))
    block, service = next((pair for pair in pairs if pair[1]), (ChainMap[str, Any](), None))
    if content in _MEDIA or not (service or (url and content == _IMAGE)):
        return None
    if service is None and (derived := derive_service(url)):
        # The manifest's size may be wrong; without an info.json the image is counted, as one without a service is.
        return CanvasImage(url, None, None, derived)
    size = read_size(block.get("width")), read_size(block.get("height"))
    if not all(size) and not asks_for_less(url):  # then it would be the size of the reduced image
        size = read_size(resource.get("width")), read_size(resource.get("height"))
    return CanvasImage(url, *size, service)


def _list_services(resource: dict[str, Any], services: Services) -> Iterator[ChainMap[str, Any]]:
    """Yield each service of a resource, above what the manifest says of it once for all."""
    seen: set[str] = set()
    for block in read_nodes(resource.get("service")):
        name = read_id(block)
        if name in seen:
            continue
        if name in services:  # any other says all of itself here
            seen.add(name)
        yield ChainMap(block, services.get(name, {}))


def _find_content(resource: dict[str, Any]) -> str:
    """Return what a resource holds, in words; an image when it says nothing at all of itself."""
    kind, form = read_kind(resource), next(iter(read_strings(resource.get("format"))), "")
    address = read_address(resource)
    ending = read_path(address).rpartition(".")[2]
    words = ("pdf" if form == "application/pdf" else "", kind, form.partition("/")[0], ending)
    untold = _IMAGE if not kind and address.startswith(("http://", "https://")) else ""
    return next((_CONTENTS[word.lower()] for word in words if word.lower() in _CONTENTS), untold)


def _explain(canvas: dict[str, Any], resources: list[dict[str, Any]]) -> str:
    """Say why there is no image on a canvas."""
    if content := next((each for each in map(_find_content, resources) if each not in ("", _IMAGE)), ""):
        return f"This canvas holds {content}, not an image."
    parts = [*read_nodes(canvas.get("images")), *read_nodes(canvas.get("items"))]
    if not parts and read_id(canvas) and not {"width", "height"} & canvas.keys():
        return "The manifest only names this canvas and does not say what is on it."
    if any({"resource", "body", "items"}.isdisjoint(part) for part in parts):
        return "The manifest keeps what is on this canvas in another document, which is not read."
    return "The manifest has no image on this canvas."
