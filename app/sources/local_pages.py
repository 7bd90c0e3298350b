"""Read the pages of a job's document that is a zip file, a PDF or a folder."""

import os
import threading
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from app.errors import FetchError, ManifestError
from app.iiif.canvas import CanvasImage
from app.iiif.images import FetchedImage
from app.sources.listing import Kind, Listing
from app.sources.page_files import FolderPages, PageFiles, ZipPages
from app.sources.pdf_pages import PdfPages
from app.storage import JobFolder


class LocalPages:
    """The pages of a job's document on this machine; none if they are at a library. Threads may share one.

    The file is opened when the first page is read. Close it afterwards, or use a ``with`` statement.

    Args:
        folder: Folder of the job, which has its document.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: PageFiles | None = None
        self._is_closed = False

    @cached_property
    def _listing(self) -> Listing | None:
        listing = Listing.parse(self._folder.listing.read_bytes()) if self._folder.listing.exists() else None
        return listing if listing and listing.is_local else None

    @cached_property
    def _places(self) -> dict[str, str]:
        """The place of each page by its URL."""
        listing = self._listing
        return {listing.build_url(page): page.place for page in listing.pages} if listing else {}

    @property
    def is_local(self) -> bool:
        """Whether the document is a file or a folder on this machine."""
        return self._listing is not None

    def identify(self, image: CanvasImage) -> str:
        """Return a text that identifies the content of a page; "" for an image at a library."""
        place = self._places.get(image.url)
        return f"{self._listing.key} {place}" if self._listing and place else ""

    def read(self, image: CanvasImage) -> FetchedImage:
        """Return the image of a page at its full size.

        Raises:
            FetchError: The page cannot be read.
        """
        try:
            with self._lock:
                if self._is_closed:
                    raise FetchError("The file with this page was closed.")
                self._files = self._files or self._open()
            return self._files.read(self._places[image.url])
        except ManifestError as error:
            raise FetchError(error.message) from error

    def _open(self) -> PageFiles:
        listing, path = self._listing, self._folder.source
        if listing and listing.kind is Kind.FOLDER:
            return FolderPages(Path(listing.origin))
        with suppress(FileNotFoundError):
            os.utime(path)  # retention counts from the last use
            if listing and listing.kind is Kind.PDF:
                return PdfPages(path, listing.origin)
            return ZipPages(path, listing.origin if listing else "", 10**18)  # it was checked when it was listed
        raise FetchError("The file with this page was removed from this server: send it again.")

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._files:
                self._files.close()

    def __enter__(self) -> "LocalPages":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
