"""Zip files from outside, which may be made to harm: nothing in one is believed before it is checked.

An archive is opened only when all of its members have plain names, no two the same, and would together unpack to no
more than is accepted; a member is then taken out by itself, to a place that this service names.
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
from pathlib import Path, PurePosixPath
from typing import IO

from app.errors import RequestError, TooLarge

MOST_MEMBERS = 50_000
# The table of contents is read into memory at once, and becomes records of some ten times its size.
MOST_CONTENTS_BYTES = 8_000_000
LONGEST_NAME_BYTES = 250
# Deflate makes a thousand bytes of one at most; scans, photographs and labels are never packed so tightly.
HIGHEST_RATIO = 200
SMALL_BYTES = 10_000_000
PIECE = 1 << 20
# Others need as much memory as they like to unpack.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What Python raises where an archive is not what it says; OSError for a place before the beginning of the file.
_DAMAGES = (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, ValueError, struct.error)
_ENCRYPTED, _UTF8 = 0x1, 0x800


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        archive: The open archive.
        path: Its checked name.
        size: Bytes, unpacked.
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
            RequestError: It is damaged.
        """
        try:
            with self.archive.file.open(self.info) as file:
                while piece := file.read(PIECE):
                    yield piece
        except (*_DAMAGES, zlib.error, EOFError) as error:
            raise RequestError(f"{self} is damaged: make the zip file anew.") from error


class Archive:
    """A zip file that was checked.

    Args:
        field: The field of the request that it came in, for the sentences that refuse it.
        file: The open zip file.
    """

    def __init__(self, field: str, file: zipfile.ZipFile) -> None:
        self.field = field
        self.file = file
        self.members: list[Member] = []

    def add(self, info: zipfile.ZipInfo) -> None:
        """Check a member and add it, unless it is a folder."""
        name = _decode_name(info)
        if fault := _explain(info, name):
            raise RequestError(f"{self.field} has {_show(name)}, {fault}.")
        if not info.is_dir():
            self.members.append(Member(self, PurePosixPath(name), info))


@contextmanager
def open_archive(stream: IO[bytes], field: str, most_bytes: int) -> Iterator[Archive]:
    """Open a zip file and check all of its names and sizes.

    Args:
        stream: The file.
        field: Of the request, for the sentences that refuse it.
        most_bytes: To which it may unpack.

    Raises:
        RequestError: It is no zip file, is damaged, encrypted, or has a member that is refused.
        TooLarge: It has too many members, or would unpack to too much.
    """
    try:
        file = zipfile.ZipFile(_Bounded(stream, field))
    except _DAMAGES as error:
        raise RequestError(f"{field} is not a zip file, or not a whole one: send it again.") from error
    with file:
        archive = Archive(field, file)
        _check_sizes(file.infolist(), field, _measure(stream), most_bytes)
        for info in file.infolist():
            archive.add(info)
        _check_twins(archive)
        yield archive


class _Bounded:
    """A file that is never read so far at once that memory would not suffice."""

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
        raise RequestError(f"{field} is packed more tightly than pages and labels are: it is not unpacked.")


def _check_twins(archive: Archive) -> None:
    """Refuse two members whose names are the same to some system."""
    seen: dict[str, Member] = {}
    for member in archive.members:
        other = seen.setdefault(str(member.path).casefold(), member)
        if other is not member:
            raise RequestError(f"{archive.field} has {_show(str(member.path))} twice: leave out one of them.")


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name in composed form: as the archive says, or in UTF-8 where it does not say so but is."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.orig_filename
    return unicodedata.normalize("NFC", name)


def _explain(info: zipfile.ZipInfo, name: str) -> str:
    """Return why a member is refused; "" when it is not."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    parts = [part for part in name.removesuffix("/").split("/") if part != "."]
    if info.flag_bits & _ENCRYPTED:
        return "which is encrypted: send it without a password"
    if info.compress_type not in _METHODS:
        return "which is packed in a way that is not read here: make the zip file with Deflate"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "which is a link or a device: send the file itself"
    if not name.isprintable() or "\\" in name or re.match("[A-Za-z]:", name):
        return "whose name has a character that is refused: a backslash, a drive or one that cannot be printed"
    if any(part in ("", "..") for part in parts) or not (parts or info.is_dir()):
        return "whose name leads out of the zip file, or is empty in part"
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
        return f"whose name is longer than {LONGEST_NAME_BYTES} bytes"
    return ""


def _show(name: str) -> str:
    shown = name if len(name) <= 60 else name[:60] + "…"
    return repr(shown) if shown.isprintable() else ascii(shown)


def write_file(member: Member, target: Path) -> None:
    """Unpack a member into a new file."""
    with target.open("xb") as file:
        for piece in member.unpack():
            file.write(piece)
