"""Parse a canvas of a manifest and the images painted on it (Presentation 2 and 3).

https://iiif.io/api/presentation/2.1/#canvas, https://iiif.io/api/presentation/3.0/#53-canvas

Nothing here raises. If no image is found, :attr:`Canvas.reason` says why.
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.iiif.image_api import (
    Box,
    ImageService,
    asks_for_less,
    contradicts_size,
    derive_service,
    parse_service,
    shows_part,
    strip_request,
)
from app.iiif.json_ld import (
    LONGEST_ID,
    is_web_address,
    read_address,
    read_id,
    read_ids,
    read_kind,
    read_nodes,
    read_objects,
    read_path,
    read_size,
    read_strings,
    read_texts,
)

_DEEPEST = 8
_MEDIA = ("sound", "video", "a 3D model")
# Content of a resource, by its type, the first part of its format, or the file extension of its URL.
_IMAGE = "an image"
_CONTENTS = {
    **dict.fromkeys(("image", "stillimage", "jpg", "jpeg", "png", "tif", "tiff", "webp", "jp2", "gif"), _IMAGE),
    **dict.fromkeys(("bmp", "ppm", "pgm", "pbm", "avif"), _IMAGE),
    **dict.fromkeys(("sound", "audio", "mp3", "m4a", "wav", "ogg", "flac"), "sound"),
    **dict.fromkeys(("video", "movingimage", "mp4", "webm", "mov", "mpd", "m3u8"), "video"),
    **dict.fromkeys(("model", "physicalobject", "glb", "gltf", "obj", "stl"), "a 3D model"),
    **dict.fromkeys(("pdf",), "a PDF document"),
    **dict.fromkeys(("text", "textualbody", "contentastext", "html", "txt", "vtt"), "text"),
    **dict.fromkeys(("dataset",), "a data set"),
}
Services = Mapping[str, dict[str, Any]]
Size = tuple[int | None, int | None]
# A region in pixels or percent: https://www.w3.org/TR/media-frags/#naming-space
_REGION = re.compile(r"xywh=(pixel:|percent:)?" + ",".join([r"(\d{1,9}(?:\.\d*)?)"] * 4))


@dataclass(frozen=True)
class CanvasImage:
    """An image painted on a canvas.

    Attributes:
        url: URL of the image resource.
        width, height: Size of the full-size image in pixels according to the manifest, or None.
        service: Image service, if there is one.
        place: Region of the canvas that the image covers, in canvas units; None if it covers the whole canvas.
        is_local: Whether it is a page of a file or a folder. The URL only names it, and cannot be requested.
        is_part: Whether the canvas shows only a region of the image, or the image rotated.
    """

    url: str
    width: int | None
    height: int | None
    service: ImageService | None
    place: Box | None = None
    is_local: bool = False
    is_part: bool = field(default=False, compare=False)  # it is the same image

    @property
    def base(self) -> str:
        """ID of the image service, or the image's own URL without one."""
        return self.service.id if self.service else self.url

    @property
    def own_name(self) -> str:
        """Last path segment of the service ID, or of the URL without the image request."""
        base = self.service.id if self.service else strip_request(self.url)
        path = base.partition("?IIIF=")[2] or read_path(base)  # IIPImage has the path of an image in the query
        return path.rstrip("/").rpartition("/")[2]

    @property
    def is_reduced(self) -> bool:
        """Whether the URL requests less than the whole image at full size from an image service."""
        return asks_for_less(self.url)


@dataclass(frozen=True)
class Canvas:
    """A canvas: one view of the document.

    Attributes:
        number: 1-based position in the manifest.
        id: ID of the canvas, or "" if it has none.
        images: Images painted on the canvas, in manifest order and without duplicates. A Choice contributes all its
            alternatives, the default first. A part of an image contributes the whole image.
        reason: Reason why there is no image, or "".
        width, height: Canvas size in canvas units, or None. This is not the image size in pixels.
        label: Label of the canvas, such as "fol. 12r", by language.
        name: Name of the image that a source other than a manifest gives it, or "".
    """

    number: int
    id: str
    images: tuple[CanvasImage, ...]
    reason: str = ""
    width: int | None = None
    height: int | None = None
    label: Mapping[str, list[str]] = field(default_factory=dict, hash=False)
    name: str = ""

    @property
    def image(self) -> CanvasImage | None:
        """The image that detection uses: the first one.

        The same rule applies to alternatives, to images next to each other and to layers. The first image is the
        default of a Choice and the bottom layer. Boxes are in its pixels.
        """
        return self.images[0] if self.images else None


def parse_canvas(number: int, entry: Any, services: Services, document: str = "") -> Canvas:
    """Parse an entry of the list of canvases.

    Args:
        number: 1-based position in the manifest.
        entry: JSON value at this position; malformed values are accepted.
        services: Shared services from the top level of the manifest, by ID.
        document: URL of the manifest, to resolve relative IDs of images.
    """
    canvas = next(iter(read_nodes(entry)), {})
    resources = _find_resources(canvas)
    images: dict[str, CanvasImage] = {}
    size = _read_size(canvas)
    for resource, place in resources:
        if image := _parse_image(resource, services, document):
            images.setdefault(image.service.id if image.service else image.url, replace(image, place=place))
    reason = "" if images else _explain(canvas, [resource for resource, _ in resources])
    label = read_texts(canvas.get("label"))
    return Canvas(number, read_id(canvas)[:LONGEST_ID], tuple(images.values()), reason, *size, label)


def _find_resources(canvas: dict[str, Any], depth: int = 0) -> list[tuple[dict[str, Any], Box | None]]:
    """Return the resources painted on a canvas (Presentation 2 or 3), with the region that each covers."""
    pages = read_objects(canvas.get("items"))
    annotations = [note for page in pages for note in read_objects(page.get("items")) or [page]]
    found = []
    for annotation in [*read_objects(canvas.get("images")), *annotations]:
        purposes = read_ids(annotation.get("motivation"))
        if not purposes or any("painting" in purpose.lower() for purpose in purposes):
            bodies = read_nodes(annotation.get("resource") or annotation.get("body"))
            place = _find_place(annotation, _read_size(canvas))
            found += [(part, place) for body in bodies for part in _unfold(body, depth)]
    return found


def _read_size(thing: Mapping[str, Any]) -> Size:
    return read_size(thing.get("width")), read_size(thing.get("height"))


def _find_place(annotation: dict[str, Any], size: Size) -> Box | None:
    """Return the region of the canvas that an annotation targets; None for the whole canvas."""
    for target in read_nodes(annotation.get("on") or annotation.get("target")):
        texts = [read_id(target)]
        texts += [text for each in read_objects(target.get("selector")) for text in read_strings(each.get("value"))]
        for found in filter(None, map(_REGION.search, texts)):
            unit, *numbers = found.groups()
            scales = [(side or 0) / 100 for side in size * 2] if unit == "percent:" else [1] * 4
            x, y, w, h = (round(float(number) * scale) for number, scale in zip(numbers, scales, strict=True))
            return (x, y, w, h) if w and h else None
    return None


def _unfold(resource: dict[str, Any], depth: int) -> list[dict[str, Any]]:
    """Resolve a resource into the resources that it stands for.

        Choice             its default, then its items
        canvas             the resources painted on it
        specific resource  its source, with its selector

    A specific resource is a part of an image or a rotated image. Boxes are in pixels of the whole image, so the source
    is used.
    """
    kind = read_kind(resource)
    if depth == _DEEPEST or kind.lower() in _CONTENTS:
        return [resource]
    if kind == "Canvas":
        return [part for part, _ in _find_resources(resource, depth + 1)]
    places = ("default", "item", "items", "source", "full")
    parts = [part for place in places for part in read_nodes(resource.get(place))]
    part_of = {"selector": resource["selector"]} if "selector" in resource else {}
    return [part_of | each for part in parts for each in _unfold(part, depth + 1)] or [resource]


def _parse_image(resource: dict[str, Any], services: Services, document: str) -> CanvasImage | None:
    url, content = read_address(resource, document), _find_content(resource)
    address, _, fragment = url.partition("#")
    if is_cut := "xywh=" in fragment:
        url = address
    pairs = ((block, parse_service(block, url, document)) for block in _list_services(resource, services))
    block, service = next((pair for pair in pairs if pair[1]), (ChainMap[str, Any](), None))
    if content in _MEDIA or not (service or (url and content == _IMAGE)):
        return None
    is_part = is_cut or shows_part(url) or any(map(_selects_part, read_nodes(resource.get("selector"))))
    if service is None and (derived := derive_service(url)):
        # The size in the manifest may be wrong. Without an info.json, the fetched image is measured instead.
        return CanvasImage(url, None, None, derived, is_part=is_part)
    size, stated = _read_size(block), _read_size(resource)
    # The size next to the URL of a reduced image may be that of the reduced image.
    if not all(size) and (not asks_for_less(url) or (service and _states_more(stated, url))):
        size = stated
    if service and _is_service(resource):
        url = ""  # it is not the URL of an image
    return CanvasImage(url, *size, service, is_part=is_part)


def _states_more(stated: Size, url: str) -> bool:
    """Return whether the size next to the URL of a reduced image is larger than that image."""
    width, height = stated
    return bool(width and height and contradicts_size(url, width, height))


def _selects_part(selector: dict[str, Any]) -> bool:
    """Return whether a selector selects less than the whole image, or rotates it."""
    if not _is_of_image_api(selector):
        return True
    return selector.get("region", "full") != "full" or str(selector.get("rotation", 0)) != "0"


def _is_of_image_api(selector: dict[str, Any]) -> bool:
    return read_kind(selector) == "ImageApiSelector"


def _is_service(resource: dict[str, Any]) -> bool:
    return read_kind(resource).lower().startswith("imageservice")


def _list_services(resource: dict[str, Any], services: Services) -> Iterator[ChainMap[str, Any]]:
    """Yield each service of a resource, merged with its description in the manifest's `services`.

    The source of a selector of the Image API is a service itself, and may be given by its URL alone.
    """
    seen: set[str] = set()
    blocks = read_nodes(resource.get("service"))
    if _is_service(resource):
        blocks.append(resource)
    elif not read_kind(resource) and any(map(_is_of_image_api, read_nodes(resource.get("selector")))):
        blocks.append({"profile": "level1"} | resource)
    for block in blocks:
        name = read_id(block)
        if name in seen:
            continue
        if name in services:  # without a shared description, blocks with the same ID may differ
            seen.add(name)
        yield ChainMap(block, services.get(name, {}))


def _find_content(resource: dict[str, Any]) -> str:
    """Return the content of a resource in words. A web resource without a type counts as an image."""
    kind, form = read_kind(resource), next(iter(read_strings(resource.get("format"))), "")
    address = read_address(resource)
    ending = read_path(address).rpartition(".")[2]
    words = ("pdf" if form == "application/pdf" else "", kind, form.partition("/")[0], ending)
    default = _IMAGE if not kind and is_web_address(address) else ""
    return next((_CONTENTS[word.lower()] for word in words if word.lower() in _CONTENTS), default)


def _explain(canvas: dict[str, Any], resources: list[dict[str, Any]]) -> str:
    """Return the reason why there is no image on a canvas."""
    if content := next((each for each in map(_find_content, resources) if each not in ("", _IMAGE)), ""):
        return f"This canvas holds {content}, not an image."
    parts = [*read_nodes(canvas.get("images")), *read_nodes(canvas.get("items"))]
    if not parts and read_id(canvas) and not {"width", "height"} & canvas.keys():
        return "The manifest gives only the ID of this canvas, not its content."
    if any({"resource", "body", "items"}.isdisjoint(part) for part in parts):
        return "The content of this canvas is in another document, which this service does not read."
    return "The manifest has no image on this canvas."
