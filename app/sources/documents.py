"""The document of a job, whatever its source: fetch it or store it, recognise it by its bytes, load its canvases.

    in the job's folder        is
    ``manifest.json``          a IIIF manifest or collection, as it was fetched
    ``listing.json``           the pages of any other source
    ``source.file``            the zip file or PDF with these pages, or a file that is not recognised yet

All three survive an interruption: what is there is not fetched again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.errors import FetchError, ManifestError
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Manifest, build_file_ref, parse_document
from app.sources.listing import Kind, Listing
from app.sources.page_files import FolderPages
from app.sources.recognition import Limits, build_label, find_kind, parse_text, recognise
from app.storage import JobFolder, open_atomic, translate_disk_full, write_atomic

_PIECE = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file that was stored in a job's folder.

    Attributes:
        name: Name of the file, for people.
        digest: Digest that identifies its content.
    """

    name: str
    digest: str


def store_file(stream: IO[bytes], name: str, folder: JobFolder) -> StoredFile:
    """Store a file as the document of a job.

    Raises:
        NoSpace: The disk is full.
    """
    digest = hashlib.sha256()
    with translate_disk_full(), open_atomic(folder.source) as file:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            file.write(piece)
    return StoredFile(name, digest.hexdigest())


def store_path(path: Path, folder: JobFolder) -> StoredFile:
    """Take a file or a folder of this machine as the document of a job. A folder is listed again at each call.

    Raises:
        ManifestError: The folder has no images.
        OSError: The file cannot be read.
    """
    name, key = path.resolve().name, hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    if not path.is_dir():
        with path.open("rb") as stream:
            stored = store_file(stream, name, folder)
        folder.listing.unlink(missing_ok=True)
        return stored
    listing = Listing(Kind.FOLDER, str(path.resolve()), build_file_ref(name), key, FolderPages(path).list_pages())
    write_atomic(folder.listing, listing.format())
    return StoredFile(name, key)


def fetch_document(
    url: str,
    folder: JobFolder,
    fetcher: Fetcher,
    limits: Limits,
    *,
    name: str = "",
    tick: Callable[[], None] = lambda: None,
) -> Manifest | Collection:
    """Return the document of a job. It is fetched and recognised first, unless it is in the job's folder.

    Args:
        url: URL of the document; "" for a stored file.
        folder: Folder of the job.
        fetcher: HTTP client.
        limits: Limits of the document.
        name: Name of a stored file.
        tick: Called repeatedly during the download; raises to stop.

    Raises:
        FetchError: The document could not be fetched.
        ManifestError: The document cannot be used.
        NoSpace: The disk is full.
    """
    if _is_missing(url, folder):
        fetcher.fetch_file(url, folder.source, limits.max_file_bytes, lambda head: find_kind(head) is not None, tick)
    if folder.source.exists() and not folder.listing.exists():
        try:
            if document := recognise(url or name, folder, limits):
                return document
        except ManifestError:
            if url:  # a retry fetches it again
                folder.source.unlink()
            raise
    return load_document(folder, url or name, limits)


def _is_missing(url: str, folder: JobFolder) -> bool:
    """Return whether the document must be fetched: it never was, or retention has removed the file with its pages."""
    if not url or folder.source.exists() or folder.manifest.exists():
        return False
    if folder.listing.exists() and Listing.parse(folder.listing.read_bytes()).is_local:
        folder.listing.unlink()
    return not folder.listing.exists()


def fetch_without_pages(url: str, fetcher: Fetcher, limits: Limits) -> Manifest | Collection:
    """Fetch a manifest, a collection or a list of images to memory, for an estimate.

    Raises:
        FetchError: It could not be fetched.
        ManifestError: It is something else. The download of a zip file or a PDF stops at its first bytes.
    """

    def check(head: bytes) -> None:
        if kind := find_kind(head):
            raise ManifestError(f"{url} is {kind}, whose pages are unknown before its download.")

    data = fetcher.fetch_document(url, check)
    pages = parse_text(data, url, limits)
    if pages is None:
        return parse_document(data, url, limits.max_pages, limits.max_members)
    return Listing(Kind.LIST, url, build_label(url), "", pages).build_manifest()


def load_document(folder: JobFolder, url: str, limits: Limits) -> Manifest | Collection:
    """Load the document from a job's folder.

    Args:
        folder: Folder of the job.
        url: URL of the document, or name of the stored file; named in errors.
        limits: Limits of the document.

    Raises:
        FetchError: The job has no document yet.
        ManifestError: The document cannot be used.
    """
    if folder.listing.exists():
        return Listing.parse(folder.listing.read_bytes()).build_manifest()
    try:
        data = folder.manifest.read_bytes()
    except FileNotFoundError as error:
        raise FetchError(f"The document {url} is not on this server: send it again.") from error
    return parse_document(data, url, limits.max_pages, limits.max_members)


def load_manifest(folder: JobFolder, url: str) -> Manifest:
    """Load the canvases of a job that has downloaded its document, whatever its source was.

    Args:
        folder: Folder of the job.
        url: URL of the document, or name of the stored file.

    Raises:
        FetchError: The job has no document.
        ManifestError: The document is a collection.
    """
    document = load_document(folder, url, Limits(max_pages=10**9))
    if isinstance(document, Collection):
        raise ManifestError(f"{url} is a collection: each of its manifests has its own job.")
    return document
