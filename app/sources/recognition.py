"""Recognise a document by its bytes, not by its name or the header of its server, and list its pages."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.errors import ManifestError
from app.iiif.collection import Collection
from app.iiif.json_ld import read_path
from app.iiif.manifest import Manifest, build_file_ref, build_manifest_ref, parse_document
from app.images.formats import describe_content, find_format
from app.sources.image_lists import parse_image_list
from app.sources.listing import Kind, ListedPage, Listing
from app.sources.page_files import ZipPages
from app.sources.pdf_pages import PdfPages
from app.storage import JobFolder, write_atomic

WANTED = "a IIIF manifest, a zip file of images, a PDF or a list of image URLs"
_HEAD = 1024
_SPACE = b"\xef\xbb\xbf \t\r\n"
# Largest list or manifest that is parsed before its job is added. Hostile JSON may need 40 times its size in memory.
_CHECKED_BYTES = 5_000_000
# Largest list or manifest in a file.
_LARGEST_TEXT = 64_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of a document.

    Attributes:
        max_pages: Largest number of pages or canvases.
        max_members: Number of members after which parsing a collection stops.
        max_file_bytes: Largest zip file or PDF, and largest unpacked size of a zip file.
    """

    max_pages: int = 5000
    max_members: int | None = None
    max_file_bytes: int = 2_000_000_000


def find_kind(head: bytes) -> Kind | None:
    """Return the kind of a large file by its first bytes; None for all other documents."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Kind.ZIP
    return Kind.PDF if head.lstrip(b"\xef\xbb\xbf\0 \t\r\n").startswith(b"%PDF-") else None


def check_stored(folder: JobFolder, name: str, limits: Limits) -> None:
    """Check a stored file before its job is added, as far as this needs no time and no other process.

    Raises:
        ManifestError: The file cannot be used.
    """
    size = folder.source.stat().st_size
    with folder.source.open("rb") as file:
        head = file.read(_HEAD)
    if find_kind(head) is Kind.ZIP:
        _list_zip(folder.source, name, limits)
    elif find_kind(head) is None and not (_claims_text(head) and _CHECKED_BYTES < size <= _LARGEST_TEXT):
        _read_text(folder.source, name, limits)


def _claims_text(head: bytes) -> bool:
    """Return whether a document starts like a list or a manifest."""
    return head.lstrip(_SPACE).lower().startswith((b"{", b"[", b"http://", b"https://"))


def recognise(origin: str, folder: JobFolder, limits: Limits) -> Manifest | Collection | None:
    """Make ``listing.json`` or ``manifest.json`` from the file that was fetched or stored; return a parsed manifest."""
    with folder.source.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        key = hashlib.file_digest(file, "sha256").hexdigest()
    kind = find_kind(head)
    if kind is Kind.ZIP:
        pages = _list_zip(folder.source, origin, limits)
    elif kind is Kind.PDF:
        pages = _list_pdf(folder.source, origin, limits)
    else:
        found = _read_text(folder.source, origin, limits)
        if not isinstance(found, list):
            os.replace(folder.source, folder.manifest)
            return found
        kind, pages = Kind.LIST, found
    write_atomic(folder.listing, Listing(kind, origin, build_label(origin), key, pages).format())
    if kind is Kind.LIST:
        folder.source.unlink()
    return None


def build_label(origin: str) -> str:
    """Return the label of a document for client apps: the file name without the extension, else the whole URL."""
    is_url = origin.startswith(("http://", "https://"))
    name = PurePosixPath(read_path(origin)).name if is_url else origin
    return build_file_ref(name) or build_manifest_ref("", origin) or "document"


def _list_zip(path: Path, origin: str, limits: Limits) -> list[ListedPage]:
    files = ZipPages(path, origin, limits.max_file_bytes)
    try:
        pages = files.list_pages()
        _check_count(len(pages), origin, limits)
        return pages
    finally:
        files.close()


def _list_pdf(path: Path, origin: str, limits: Limits) -> list[ListedPage]:
    files = PdfPages(path, origin)
    try:
        return files.list_pages(limits.max_pages)
    finally:
        files.close()


def _read_text(path: Path, origin: str, limits: Limits) -> list[ListedPage] | Manifest | Collection:
    """Parse a list or a manifest.

    Raises:
        ManifestError: It is neither.
    """
    if path.stat().st_size > _LARGEST_TEXT:
        raise ManifestError(f"{origin} is larger than {_LARGEST_TEXT / 1e6:.3g} MB, but no zip file and no PDF.")
    data = path.read_bytes()
    pages = parse_text(data, origin, limits)
    return parse_document(data, origin, limits.max_pages, limits.max_members) if pages is None else pages


def parse_text(data: bytes, origin: str, limits: Limits) -> list[ListedPage] | None:
    """Return the pages of a list, or None if the document is JSON and may be a manifest.

    Raises:
        ManifestError: It is something else, or has no usable image.
    """
    if not data.strip():
        raise ManifestError(f"{origin} is empty: it must be {WANTED}.")
    pages = parse_image_list(data, lambda count: _check_count(count, origin, limits))
    if pages is not None:
        if not pages:
            raise ManifestError(f"{origin} has no images: it must be {WANTED}.")
        if all(page.reason for page in pages):
            raise ManifestError(f"{origin} has no usable image; the first of {len(pages)}: {pages[0].reason}")
        return pages
    if find_format(data) or not data.lstrip(_SPACE).startswith((b"{", b"[")):
        raise ManifestError(f"{origin} is {describe_content(data)}: it must be {WANTED}.")
    return None


def _check_count(count: int, origin: str, limits: Limits) -> None:
    if count > limits.max_pages:
        raise ManifestError(f"{origin} has {count} pages; at most {limits.max_pages} are accepted (MAX_CANVASES).")
