"""The pages of a source other than a manifest, as a file in the job's folder, and as canvases."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import quote

from app.iiif.canvas import Canvas, CanvasImage
from app.iiif.image_api import derive_service
from app.iiif.manifest import Manifest, number_name


class Kind(StrEnum):
    """The kind of a source. The value continues the sentence "The source is …"."""

    ZIP = "a zip file"
    PDF = "a PDF document"
    FOLDER = "a folder"
    LIST = "a list of images"


@dataclass(frozen=True)
class ListedPage:
    """A page of a source.

    Attributes:
        place: Path in the zip file or the folder, page number in the PDF, or URL in the list.
        name: Name of the image in the annotation file; "" for ``<ref>_<number>.jpg``.
        reason: Reason why there is no image, or "".
    """

    place: str
    name: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Listing:
    """The pages of a source.

    Attributes:
        kind: Kind of the source.
        origin: URL of the source, or name of the uploaded file or folder.
        label: Label of the document for client apps.
        key: Digest of the file. Another file at the same URL has other cached images.
        pages: Pages in order.
    """

    kind: Kind
    origin: str
    label: str
    key: str
    pages: Sequence[ListedPage]

    def format(self) -> bytes:
        """Return the content of ``listing.json``."""
        return json.dumps(asdict(self), ensure_ascii=True).encode()

    @classmethod
    def parse(cls, data: bytes) -> "Listing":
        """Parse the content of ``listing.json``."""
        record = json.loads(data)
        pages = [ListedPage(**page) for page in record["pages"]]
        return cls(**(record | {"kind": Kind(record["kind"]), "pages": pages}))

    @property
    def is_local(self) -> bool:
        """Whether the pages are in a file or a folder on this machine."""
        return self.kind is not Kind.LIST

    def build_manifest(self) -> Manifest:
        """Return the pages as canvases of a manifest.

        The URL of a page in a file is that of the file with a fragment. For a PDF, it has the form of RFC 8118:
        ``https://…/file.pdf#page=3``.
        """
        canvases = (self._build_canvas(number, page) for number, page in enumerate(self.pages, 1))
        return Manifest(self.origin, "", tuple(canvases), file_ref=self.label)

    def _build_canvas(self, number: int, page: ListedPage) -> Canvas:
        images: tuple[CanvasImage, ...] = ()
        if not page.reason and self.is_local:
            images = (CanvasImage(self.build_url(page), None, None, None, is_local=True),)
        elif not page.reason:
            images = (CanvasImage(page.place, None, None, derive_service(page.place)),)
        return Canvas(number, "", images, page.reason, name=page.name or number_name(self.label, number))

    def build_url(self, page: ListedPage) -> str:
        """Return the URL of a page in a file."""
        start = "page=" if self.kind is Kind.PDF else ""
        return f"{self.origin}#{start}{quote(page.place)}"
