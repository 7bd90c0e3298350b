"""The pages in a zip file or a folder: which files are pages, their order and names, and their content."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from app.errors import FetchError, ManifestError, NotAnImage, RequestError
from app.iiif.images import FetchedImage
from app.images.formats import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, check_image, describe_content, find_format
from app.sources.listing import ListedPage
from app.sources.names import claims_image, is_hidden, name_pages, sort_naturally
from app.storage.archives import Archive, Member, open_archive

_HEAD = 1000
# Folder of the command line in each of its output folders.
OWN_FOLDER = ".extractor"


def list_files(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, sorted by path.

    Output folders of the command line in it are left out, and so are files of the operating system.
    """
    results = {own.parent for own in folder.rglob(OWN_FOLDER)}
    visible = (path for path in folder.rglob("*") if not is_hidden(PurePosixPath(path.relative_to(folder))))
    return sorted(path for path in visible if path.is_file() and results.isdisjoint(path.parents))


class PageFiles(Protocol):
    """The pages of an open file or folder. Threads may share one."""

    def read(self, place: str) -> FetchedImage:
        """Return the image of a page as it is.

        Raises:
            FetchError: There is no such page.
            NotAnImage: It is not an image, is damaged, or has too many pixels.
        """

    def close(self) -> None:
        """Release the file."""


def check_page(data: bytes, name: str) -> FetchedImage:
    """Decode the image of a page once; return it with its size.

    Raises:
        NotAnImage: It is not an image, is damaged, or has too many pixels.
    """
    if not find_format(data):
        raise NotAnImage(f"{name} is {describe_content(data)}: save it as JPEG, PNG or TIFF.")
    return FetchedImage(data, *check_image(data, name, MAX_IMAGE_PIXELS))


class ZipPages:
    """The pages in a zip file.

    Args:
        path: The zip file.
        shown: URL or name of the file, for error messages.
        max_bytes: Largest unpacked size.

    Raises:
        ManifestError: It is not a zip file, or has an entry that is not accepted.
    """

    def __init__(self, path: Path, shown: str, max_bytes: int) -> None:
        self._shown = shown
        self._stack = ExitStack()
        try:
            file: IO[bytes] = self._stack.enter_context(path.open("rb"))
            archive = self._stack.enter_context(open_archive(file, shown, max_bytes))
        except RequestError as error:
            self._stack.close()
            raise ManifestError(error.message) from error
        self._members = {member.path: member for member in _list_visible(archive)}

    def list_pages(self) -> list[ListedPage]:
        """Return the pages in order.

        Raises:
            ManifestError: The file has no images.
        """
        found = [path for path, member in self._members.items() if claims_image(path) or _holds_image(member)]
        if not found:
            raise ManifestError(f"{self._shown} {_explain_none(self._members)}")
        return _list_in_order(found)

    def read(self, place: str) -> FetchedImage:
        member = self._members.get(PurePosixPath(place))
        if member is None:
            raise FetchError(f"{place} is no longer in the zip file: send a new request.")
        if member.size > MAX_IMAGE_BYTES:
            raise NotAnImage(f"{member} has {member.size / 1e6:.0f} MB: at most {MAX_IMAGE_BYTES / 1e6:.0f} are read.")
        try:
            return check_page(member.read(), str(member))
        except RequestError as error:
            raise NotAnImage(error.message) from error

    def close(self) -> None:
        self._stack.close()


class FolderPages:
    """The pages in a folder and its subfolders, for the command line. The files are not copied.

    Raises:
        ManifestError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ManifestError(f"{root} is not a folder: name a folder with images.")
        self._root = root

    def list_pages(self) -> list[ListedPage]:
        """Return the pages in order.

        Raises:
            ManifestError: The folder has no images.
        """
        files = (PurePosixPath(path.relative_to(self._root)) for path in list_files(self._root))
        found = [path for path in files if claims_image(path) or find_format(self._read(path, _HEAD))]
        if not found:
            raise ManifestError(f"{self._root} has no images: name a folder with JPEG, PNG or TIFF files.")
        return _list_in_order(found)

    def read(self, place: str) -> FetchedImage:
        return check_page(self._read(PurePosixPath(place), MAX_IMAGE_BYTES), place)

    def close(self) -> None:
        return None

    def _read(self, path: PurePosixPath, most: int) -> bytes:
        try:
            with (self._root / path).open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise FetchError(f"{path} cannot be read: {error.strerror}.") from error


def _list_visible(archive: Archive) -> Iterator[Member]:
    return (member for member in archive.members if not is_hidden(member.path))


def _holds_image(member: Member) -> bool:
    """Return whether a file without an extension is an image by its first bytes."""
    if member.path.suffix:
        return False
    try:
        return bool(find_format(next(member.unpack(), b"")))
    except RequestError:
        return False


def _list_in_order(found: list[PurePosixPath]) -> list[ListedPage]:
    ordered = sort_naturally(found)
    return [ListedPage(str(path), name) for path, name in zip(ordered, name_pages(ordered), strict=True)]


def _explain_none(members: Mapping[PurePosixPath, Member]) -> str:
    """Return why a zip file has no pages, as the end of a sentence about it."""
    if not members:
        return "is an empty zip file: send one with JPEG, PNG or TIFF files."
    kind, count = Counter(path.suffix.lower() for path in members).most_common(1)[0]
    hint = " Send each of them alone." if kind in (".zip", ".pdf") else ""
    shown = f"{count} {kind} file{'s' * (count > 1)}" if kind else f"{count} other file{'s' * (count > 1)}"
    return f"has no images but {shown}: send a zip file with JPEG, PNG or TIFF files.{hint}"
