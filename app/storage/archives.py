"""Safe reading of uploaded zip files, which may be malicious.

``open_archive`` checks the name, type and size of every member before anything is unpacked. Names must be plain and
unique, and the total unpacked size is limited. Each member is then unpacked to a path that this service chooses.
"""

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from app.errors import RequestError, TooLarge, quote_text

MOST_MEMBERS = 50_000
# Size of the central directory, which is read into memory at once; its parsed records are about ten times larger.
MOST_CONTENTS_BYTES = 8_000_000
LONGEST_NAME_BYTES = 250
# Folders of a file, and the file itself.
MOST_PARTS = 50
# Deflate reaches a ratio of about 1000; scans, photographs and labels stay far below 200.
HIGHEST_RATIO = 200
SMALL_BYTES = 10_000_000
PIECE = 1 << 20
# Other methods need an unbounded amount of memory to unpack.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Exceptions that ``zipfile`` raises for an archive that it cannot read: NotImplementedError for an unknown version or
# compression, OSError for an offset before the start of the file.
_DAMAGES = (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, ValueError, struct.error)
_ENCRYPTED, _UTF8 = 0x1, 0x800


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        archive: The open archive.
        path: Validated name in the archive.
        size: Unpacked size, in bytes.
    """

    archive: "Archive"
    path: PurePosixPath
    info: zipfile.ZipInfo

    def __str__(self) -> str:
        return f"{self.path} in {self.archive.field}"

    @property
    def size(self) -> int:
        return self.info.file_size

    def read(self) -> bytes:
        return b"".join(self.unpack())

    def unpack(self) -> Iterator[bytes]:
        """Yield the content in pieces.

        Raises:
            RequestError: If the member is damaged.
        """
        try:
            with self.archive.file.open(self.info) as file:
                while piece := file.read(PIECE):
                    yield piece
        except (*_DAMAGES, zlib.error, EOFError) as error:
            raise RequestError(f"{self} is damaged: create the zip file again.") from error


class Archive:
    """A validated zip file.

    Args:
        field: Name of the request field, for error messages.
        file: The open zip file.
    """

    def __init__(self, field: str, file: zipfile.ZipFile) -> None:
        self.field = field
        self.file = file
        self.members: list[Member] = []

    def add(self, info: zipfile.ZipInfo) -> None:
        """Validate a member and add it; folders are only validated."""
        name = _decode_name(info)
        if fault := _explain(info, name):
            raise RequestError(f"{self.field} contains {quote_text(name)}, {fault}.")
        if not name.endswith("/"):
            self.members.append(Member(self, PurePosixPath(name), info))


@contextmanager
def open_archive(stream: IO[bytes], field: str, most_bytes: int) -> Iterator[Archive]:
    """Open a zip file and validate the name, type and size of every member.

    Args:
        stream: The uploaded file.
        field: Name of the request field, for error messages.
        most_bytes: Limit for the total unpacked size, in bytes.

    Raises:
        RequestError: If the file is not a zip file, is damaged or encrypted, or has a member that is not accepted.
        TooLarge: If it has too many members, or its unpacked size is above the limit.
    """
    try:
        file = zipfile.ZipFile(_Bounded(stream, field))
    except _DAMAGES as error:
        raise RequestError(f"{field} is not a zip file, or it is incomplete: send it again.") from error
    with file:
        archive = Archive(field, file)
        _check_sizes(file.infolist(), field, _measure(stream), most_bytes)
        for info in file.infolist():
            archive.add(info)
        _check_duplicates(archive)
        yield archive


class _Bounded:
    """A file whose single reads are limited, so a large central directory cannot exhaust the memory."""

    def __init__(self, stream: IO[bytes], field: str) -> None:
        self._stream = stream
        self._field = field
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, lambda: True

    def read(self, size: int = -1) -> bytes:
        if size > MOST_CONTENTS_BYTES:
            raise TooLarge(f"{self._field} has too many files: at most {MOST_MEMBERS} are accepted.")
        return self._stream.read(size if size >= 0 else MOST_CONTENTS_BYTES)


def _measure(stream: IO[bytes]) -> int:
    stream.seek(0, 2)
    return stream.tell()


def _check_sizes(infos: list[zipfile.ZipInfo], field: str, packed: int, most_bytes: int) -> None:
    total = sum(info.file_size for info in infos)
    if len(infos) > MOST_MEMBERS:
        raise TooLarge(f"{field} has {len(infos)} files: at most {MOST_MEMBERS} are accepted.")
    if total > most_bytes:
        raise TooLarge(f"{field} unpacks to {total / 1e6:.0f} MB: at most {most_bytes / 1e6:.0f} are accepted.")
    if total > SMALL_BYTES + HIGHEST_RATIO * packed:
        raise RequestError(f"{field} has a suspicious compression ratio (above {HIGHEST_RATIO}) and was not unpacked.")


def _check_duplicates(archive: Archive) -> None:
    """Reject two members whose names are equal or differ only in case: some file systems treat them as one file."""
    seen: dict[str, Member] = {}
    for member in archive.members:
        other = seen.setdefault(str(member.path).casefold(), member)
        if other is not member:
            raise RequestError(f"{archive.field} contains {quote_text(str(member.path))} twice: remove one of them.")


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name in Unicode form NFC, with ``/`` between folders.

    Some tools write UTF-8 without setting the flag for it: a name that decodes as UTF-8 is taken as UTF-8. Old tools
    on Windows write ``\\`` between folders (APPNOTE.TXT, 4.4.17.1, demands ``/``).
    """
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.orig_filename
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def _explain(info: zipfile.ZipInfo, name: str) -> str:
    """Return the reason to reject a member; "" if it is accepted."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    parts = [part for part in name.removesuffix("/").split("/") if part != "."]
    if info.flag_bits & _ENCRYPTED:
        return "which is encrypted: send it without a password"
    if info.compress_type not in _METHODS:
        return "which uses an unsupported compression method: create the zip file with Deflate"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "which is a link or a device: send the file itself"
    if not name.isprintable() or re.match("[A-Za-z]:", name):
        return "whose name has a drive letter or an unprintable character: rename it"
    if any(part in ("", "..") for part in parts) or not (parts or name.endswith("/")):
        return "whose name has an empty part or '..': rename it"
    if len(parts) > MOST_PARTS:
        return f"which is in {len(parts) - 1} folders: at most {MOST_PARTS - 1} are accepted"
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
        return f"whose name is longer than {LONGEST_NAME_BYTES} bytes: shorten it"
    return ""
