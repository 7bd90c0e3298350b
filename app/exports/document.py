"""The pages of a result with their canvases: what the writers of all formats work on; and names of files."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.detection.corrections import apply_corrections, load_corrections
from app.errors import FetchError, ManifestError
from app.exports.annotation_files import parse_pages
from app.iiif.canvas import Canvas, CanvasImage
from app.iiif.image_api import Box, build_image_url
from app.iiif.image_requests import build_crop_url
from app.iiif.json_ld import is_web_address
from app.images.pixels import read_size
from app.sources.documents import load_manifest
from app.storage import JobFolder

Size = tuple[int, int]
# Size of a canvas whose size is unknown, because its page failed and the manifest does not state it.
_UNKNOWN_SIZE = (1000, 1000)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_LONGEST_NAME = 120


@dataclass(frozen=True)
class ExportedPage:
    """A page with its detections and its canvas.

    Attributes:
        record: Page with its detections, in pixels of the full-size image.
        canvas_url: ID of the canvas in the manifest. If it has no URL of its own, a URL of the job.
        canvas_size: (width, height) in canvas units.
        file_name: Name of the image, unique in the document and safe as a file name.
        image_url: URL of the whole image in the manifest. For a page without one, the URL of its cached image.
        image_size: (width, height) of the image at this URL, in pixels. A cached image may be reduced.
        place: ``xywh`` of the region of the canvas that the image covers, in canvas units.
        image: Image of the canvas in the manifest; None for a page without one.
        label: Label of the canvas by language.
    """

    record: AnnotatedPage
    canvas_url: str
    canvas_size: Size
    file_name: str
    image_url: str
    image_size: Size
    place: Box
    image: CanvasImage | None = None
    label: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        """(width, height) of the full-size image in pixels. Every page that did not fail has one."""
        return self.record.width or self.canvas_size[0], self.record.height or self.canvas_size[1]

    @property
    def boxes(self) -> Sequence[BoxRecord]:
        """The detections. Rounding may place the edge of a record one pixel outside of the page; here it is inside."""
        return [replace(box, xywh=_clip(box.xywh, self.size)) for box in self.record.boxes]

    def build_crop_url(self, box: BoxRecord) -> str:
        """Return the URL of a detection at the image service; "" without a service that cuts regions."""
        return build_crop_url(self.image, box.xywh, self.size) if self.image else ""

    def scale_to_canvas(self, box: BoxRecord) -> Box:
        """Return the ``xywh`` of a detection in canvas units, at least one unit wide and high."""
        (x, y, w, h), (from_left, from_top, width, height) = box.xywh, self.place
        left, right = _scale_range(x, x + w, self.size[0], width)
        top, bottom = _scale_range(y, y + h, self.size[1], height)
        return from_left + left, from_top + top, right - left, bottom - top

    def move_to_canvas(self, canvas_url: str, size: Size) -> "ExportedPage":
        """Return the page on another canvas, which its image covers."""
        return replace(self, canvas_url=canvas_url, canvas_size=size, place=(0, 0, *size))


@dataclass(frozen=True)
class ExportedDocument:
    """The result of a detection job.

    Attributes:
        address: URL of the job on this server; the IDs in the IIIF formats start with it.
        query: Query of a signed link with its question mark, for URLs that a viewer opens without a key; or "".
        source: URL of the manifest; "" if the document is no IIIF manifest.
        ref: Label of the manifest for client apps, see :attr:`app.iiif.manifest.Manifest.ref`.
        model: Label of the weights, followed by the people who have corrected pages.
        created: Time of the result or of the last correction, in UTC.
        pages: All pages in order, with the failed ones.
        description: Label, rights and other descriptive properties of the manifest, as they are.
    """

    address: str
    query: str
    source: str
    ref: str
    model: str
    created: datetime
    pages: Sequence[ExportedPage]
    description: Mapping[str, Any]

    @property
    def records(self) -> Iterator[AnnotatedPage]:
        return (page.record for page in self.pages)

    @property
    def processed(self) -> Iterator[ExportedPage]:
        """The pages that the detector has processed. A format without a field for failures has only these."""
        return (page for page in self.pages if page.record.status is not PageStatus.FAILED)

    @property
    def failed(self) -> Iterator[AnnotatedPage]:
        return (page for page in self.records if page.status is PageStatus.FAILED)

    @property
    def classes(self) -> dict[int, str]:
        """The names of the detected classes, by their ID."""
        return dict(sorted({box.class_id: box.class_name for page in self.records for box in page.boxes}.items()))


def load_document(
    folder: JobFolder,
    request: Mapping[str, Any],
    images: Path,
    address: str,
    *,
    ref: str = "",
    model: str = "",
    query: str = "",
    corrected: bool = False,
) -> ExportedDocument:
    """Load the result of a detection job.

    Args:
        folder: Folder of the job.
        request: Request of the job; ``manifest_url`` is read.
        images: Folder of its cached images.
        address: URL of the job on this server.
        ref: Label of the manifest.
        model: Label of the weights.
        query: Query of a signed link, see :attr:`ExportedDocument.query`.
        corrected: Whether corrections replace the detections of their pages.

    Raises:
        FileNotFoundError: The job has no result (yet).
    """
    corrections = load_corrections(folder) if corrected else {}
    records = apply_corrections(parse_pages(folder.annotations_json.read_bytes()), corrections)
    changes = [folder.annotations_json.stat().st_mtime, *(each.at for each in corrections.values())]
    created = datetime.fromtimestamp(max(changes), UTC)
    if people := sorted({each.by for each in corrections.values()}):
        model = f"{model}, corrected by {', '.join(people)}".removeprefix(", ")
    canvases: Mapping[int, Canvas] = {}
    description: Mapping[str, Any] = {}
    # A job without a copy of its manifest has images only in the cache of this server.
    source = request["manifest_url"]
    with suppress(FetchError, ManifestError):
        manifest = load_manifest(folder, source)
        canvases, description = {canvas.number: canvas for canvas in manifest.canvases}, manifest.description
        source = "" if manifest.file_ref else source
    pages = [
        _join(record, canvases.get(record.number), f"{address}/pages/{record.number}.jpg{query}") for record in records
    ]
    fetched = {} if all(page.image for page in pages) else folder.pages.load()
    pages = [page if page.image else _measure(page, images, fetched) for page in pages]
    return ExportedDocument(
        address,
        query,
        source,
        ref or "document",
        model,
        created.replace(microsecond=0),
        tuple(_make_unique(pages, address)),
        description,
    )


def _join(record: AnnotatedPage, canvas: Canvas | None, own_url: str) -> ExportedPage:
    """Return a page with its canvas in the manifest. Without an image there, the page has the image at its own URL."""
    image = canvas.image if canvas and canvas.image and not canvas.image.is_local else None
    image = image if image and is_web_address(image.base) else None
    size, label = _choose_size((record.width, record.height)), canvas.label if canvas else {}
    if canvas is None or image is None:
        return ExportedPage(record, "", size, record.image_name, own_url, size, (0, 0, *size), None, label)
    size = _choose_size((record.width, record.height), (image.width, image.height), (canvas.width, canvas.height))
    canvas_url = canvas.id if is_web_address(canvas.id) else ""
    canvas_size = _choose_size((canvas.width, canvas.height), size)
    url, place = _find_url(image), image.place or (0, 0, *canvas_size)
    page = ExportedPage(record, canvas_url, canvas_size, record.image_name, url, size, place, image, label)
    # The library's canvas does not show the whole page, so the page gets a canvas of this server.
    return page.move_to_canvas("", size) if image.is_part else page


def _measure(page: ExportedPage, images: Path, fetched: Mapping[int, Mapping[str, Any]]) -> ExportedPage:
    """Return a page with the size of its cached image. Its canvas has the same size."""
    with suppress(OSError, SyntaxError, ValueError, TypeError, KeyError):
        file = fetched[page.record.number]["file"]
        with (images / file).open("rb") as image:
            size = read_size(image)
            return replace(page, image_size=size).move_to_canvas(page.canvas_url, size)
    return page


def _find_url(image: CanvasImage) -> str:
    if image.service and (image.is_reduced or not is_web_address(image.url)):
        return build_image_url(image.service, image.service.full_size)
    return image.url


def _make_unique(pages: Sequence[ExportedPage], address: str) -> Iterator[ExportedPage]:
    """Give each page a unique file name, and a canvas URL that no other page has."""
    count = Counter(page.canvas_url for page in pages)
    names = name_files([(page.record.number, page.record.image_name) for page in pages])
    for page, name in zip(pages, names, strict=True):
        own = page.canvas_url if page.canvas_url and count[page.canvas_url] == 1 else ""
        yield replace(page, canvas_url=own or f"{address}/canvas/{page.record.number}", file_name=name)


def name_files(images: Sequence[tuple[int, str]]) -> list[str]:
    """Return a file name for each image, from its page number and its name.

    The names are safe on all common systems. If two of them differ only in case or ending, their label files would
    overwrite each other. Then all names start with the page number.
    """
    names = [clean_name(name) for _, name in images]
    if len({PurePosixPath(name).stem.casefold() for name in names}) == len(names):
        return names
    return [f"{number:04d}_{name}" for (number, _), name in zip(images, names, strict=True)]


def clean_name(name: str) -> str:
    """Return a file name that is safe on every system and in a header, from any text."""
    path = PurePosixPath(_UNSAFE.sub("_", name).strip(" .") or "page.jpg")
    if len(path.name) <= _LONGEST_NAME:
        return path.name
    return f"{path.stem[: _LONGEST_NAME - 10].rstrip(' .')}{path.suffix[:10].rstrip(' .')}"


def _choose_size(*sizes: tuple[int | None, int | None]) -> Size:
    """Return the first size that is complete."""
    known: Iterable[Size] = ((width, height) for width, height in sizes if width and height)
    return next(iter(known), _UNKNOWN_SIZE)


def _clip(xywh: Box, size: Size) -> Box:
    (left, right), (top, bottom) = (
        (min(max(0, start), limit - 1), min(start + length, limit))
        for start, length, limit in zip(xywh[:2], xywh[2:], size, strict=True)
    )
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _scale_range(start: int, end: int, length: int, target: int) -> tuple[int, int]:
    """Scale a range of pixels to another length. The result is inside of it and contains at least one unit."""
    first = min(max(0, round(start * target / length)), target - 1)
    return first, min(max(first + 1, round(end * target / length)), target)
