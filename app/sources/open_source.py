"""Read the pages of a document that is a zip file, a PDF or a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import FetchError, ManifestError
from app.iiif.canvas import CanvasImage
from app.iiif.images import FetchedImage
from app.sources.listing import Kind, Listing
from app.sources.page_files import FolderPages, PageFiles, ZipPages
from app.sources.pdf_pages import PdfPages
from app.storage import JobFolder


class OpenSource:
    """A file or folder with pages that is open. Threads may share one.

    Args:
        listing: Pages of the source.
        files: The open file; None if it was removed.
    """

    def __init__(self, listing: Listing, files: PageFiles | None) -> None:
        self._key = listing.key
        self._files = files
        self._places = {listing.build_url(page): page.place for page in listing.pages if not page.reason}

    def identify(self, image: CanvasImage) -> str:
        """Return a text that identifies the content of a page."""
        return f"{self._key} {self._places[image.url]}"

    def read(self, image: CanvasImage) -> FetchedImage:
        """Return the image of a page at its full size.

        Raises:
            FetchError: The page cannot be read.
        """
        if self._files is None:
            raise FetchError("The file with this page was removed from this server: send it again.")
        try:
            return self._files.read(self._places[image.url])
        except ManifestError as error:
            raise FetchError(error.message) from error


@contextmanager
def open_source(folder: JobFolder) -> Iterator[OpenSource | None]:
    """Open the file with the pages of a job; yield None if its pages are images at a library."""
    listing = Listing.parse(folder.listing.read_bytes()) if folder.listing.exists() else None
    if listing is None or not listing.is_local:
        yield None
        return
    files = _open_files(listing, folder)
    try:
        yield OpenSource(listing, files)
    finally:
        if files:
            files.close()


def _open_files(listing: Listing, folder: JobFolder) -> PageFiles | None:
    if listing.kind is Kind.FOLDER:
        return FolderPages(Path(listing.origin))
    with suppress(FileNotFoundError):
        os.utime(folder.source)  # retention counts from the last use
        if listing.kind is Kind.PDF:
            return PdfPages(folder.source, listing.origin)
        return ZipPages(folder.source, listing.origin, 10**18)  # it was checked when it was listed
    return None
