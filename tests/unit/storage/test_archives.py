"""Valid, malicious and broken zip files."""

import contextlib
import io
import stat
import struct
import zipfile
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.errors import RequestError, TooLarge
from app.storage import archives
from app.storage.archives import open_archive
from tests.support.archives import make_image, make_zip

MEGABYTE = 1_000_000


def read(content: io.BytesIO, most_bytes: int = 100 * MEGABYTE) -> dict[str, bytes]:
    with open_archive(content, "img_zip", most_bytes) as archive:
        return {str(member.path): member.read() for member in archive.members}


def make_entry(name: str = "a.jpg", content: bytes = b"x", **fields: int) -> io.BytesIO:
    """Return an archive of one file whose entry has the given ``ZipInfo`` attributes."""
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(info, content)
    return buffer


def rename(old: bytes, new: bytes) -> io.BytesIO:
    """Return an archive in which a file name is replaced, in its local header and in the central directory."""
    assert len(old) == len(new)
    return io.BytesIO(make_zip({old.decode(): b"x", "z.jpg": b"y"}).getvalue().replace(old, new))


def test_files_in_any_folder_are_read() -> None:
    files = {"a.jpg": make_image(), "b/c.txt": b"hello", "b/": b"", "./d": b""}
    assert read(make_zip(files)) == {"a.jpg": files["a.jpg"], "b/c.txt": b"hello", "d": b""}


def test_backslashes_of_windows_separate_folders() -> None:
    assert read(make_zip({"a\\b\\c.jpg": b"x", "a\\b\\": b""})) == {"a/b/c.jpg": b"x"}


@pytest.mark.parametrize("flag", [False, True])
def test_a_utf_8_name_is_decoded_with_and_without_its_flag(flag: bool) -> None:
    content = make_zip({"e\u0301té.jpg": b"x"}).getvalue()  # the first letter is decomposed, as on macOS
    if not flag:
        content = content.replace(struct.pack("<H", 0x800), b"\0\0")
    assert list(read(io.BytesIO(content))) == ["été.jpg"]


@pytest.mark.parametrize(
    "content", [b"", b"no zip file", b"PK\x05\x06" + b"\xff" * 18, b"\x1f\x8b" + b"x" * 100, make_image()]
)
def test_a_file_that_is_not_a_zip_file_is_rejected(content: bytes) -> None:
    with pytest.raises(RequestError, match=r"^img_zip is not a zip file"):
        read(io.BytesIO(content))


def test_an_archive_truncated_at_any_byte_is_rejected() -> None:
    whole = make_zip({"a.jpg": make_image(), "b.txt": b"hello"}).getvalue()
    for length in range(len(whole)):
        with pytest.raises(RequestError):
            read(io.BytesIO(whole[:length]))


@given(st.data())
@examples(max_examples=300, deadline=None)
def test_an_archive_with_changed_bytes_is_read_or_rejected(data: st.DataObject) -> None:
    whole = bytearray(make_zip({"a.jpg": b"hello" * 20, "b.txt": b"x"}).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from([0, 1, 9, 0x50, 0x7F, 0x80, 0xFF]))
    with contextlib.suppress(RequestError):
        assert read(io.BytesIO(bytes(whole))).keys() != {}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"aaaaaaa.jpg", b"../../a.jpg", "an empty part or '..'"),
        (b"aaaaaaa.jpg", b"aaa/../.jpg", "an empty part or '..'"),
        (b"aaaaaaa.jpg", b"/aaaaaa.jpg", "an empty part or '..'"),
        (b"aaaaaaa.jpg", b"aaa//aa.jpg", "an empty part or '..'"),
        (b"aaaaaaa.jpg", b"C:/aaaa.jpg", "a drive letter"),
        (b"aaaaaaa.jpg", b"c:aaaaa.jpg", "a drive letter"),
        (b"aaaaaaa.jpg", b"..\\aaaa.jpg", "an empty part or '..'"),
        (b"aaaaaaa.jpg", b"\\\\aa\\aa.jpg", "an empty part or '..'"),
        (b"aaaaaaa.jpg", b"C:\\aaaa.jpg", "a drive letter"),
        (b"aaaaaaa.jpg", b"aaaaa\0a.jpg", "an unprintable character"),
        (b"aaaaaaa.jpg", b"aaaaa\na.jpg", "an unprintable character"),
        (b"aaaaaaa.jpg", b"aaaaa\x1b[.jpg", "an unprintable character"),
    ],
)
def test_an_unsafe_member_name_is_rejected(old: bytes, new: bytes, fault: str) -> None:
    if len(new) != len(old):
        new = new[: len(old)]
    with pytest.raises(RequestError) as caught:
        read(rename(old, new))
    assert fault in caught.value.message
    assert caught.value.message.isprintable()


def test_a_name_with_invalid_utf_8_is_rejected() -> None:
    content = make_zip({"éé.jpg": b"x"}).getvalue().replace("éé".encode(), b"\xff\xfe\xff\xfe")
    with pytest.raises(RequestError, match="not a zip file"):
        read(io.BytesIO(content))


def test_a_name_too_long_for_file_systems_is_rejected() -> None:
    with pytest.raises(RequestError, match="longer than 250 bytes"):
        read(make_zip({"é" * 126 + ".jpg": b"x"}))


def test_a_file_in_too_many_folders_is_rejected() -> None:
    assert read(make_zip({f"./{'a/' * 49}b.jpg": b"x"})) == {f"{'a/' * 49}b.jpg": b"x"}
    with pytest.raises(RequestError, match="which is in 50 folders: at most 49 are accepted"):
        read(make_zip({f"{'a/' * 50}b.jpg": b"x"}))


@pytest.mark.parametrize("twin", ["a.jpg", "A.JPG", "./a.jpg"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_with_the_same_name_are_rejected(twin: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.jpg", b"x")
        file.writestr(twin, b"y")
    with pytest.raises(RequestError, match="twice"):
        read(buffer)


def test_composed_and_decomposed_letters_are_the_same_name() -> None:
    with pytest.raises(RequestError, match="twice"):
        read(make_zip({"\u00e9.jpg": b"x", "e\u0301.jpg": b"y"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_rejected(kind: int) -> None:
    with pytest.raises(RequestError, match="a link or a device"):
        read(make_entry(content=b"/etc/passwd", external_attr=(kind | 0o777) << 16))


def test_an_encrypted_file_is_rejected() -> None:
    content = make_zip({"a.jpg": b"x"}).getvalue()
    at = content.index(b"PK\x01\x02") + 8
    with pytest.raises(RequestError, match="encrypted"):
        read(io.BytesIO(content[:at] + b"\x01" + content[at + 1 :]))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_with_unbounded_memory_are_rejected(method: int) -> None:
    with pytest.raises(RequestError, match="Deflate"):
        read(make_zip({"a.jpg": b"x" * 1000}, method))


def test_an_archive_with_a_too_large_unpacked_size_is_rejected() -> None:
    with pytest.raises(TooLarge, match="unpacks to 2 MB: at most 1 are"):
        read(make_zip({"a": b"x" * MEGABYTE, "b": b"y" * MEGABYTE}), MEGABYTE)


def test_a_suspicious_compression_ratio_is_rejected() -> None:
    with pytest.raises(RequestError, match="suspicious compression ratio"):
        read(make_zip({f"{n}.bmp": bytes(4 * MEGABYTE) for n in range(4)}))


def test_a_file_larger_than_its_declared_size_is_rejected() -> None:
    content = make_zip({"a.jpg": b"x" * 1000}).getvalue().replace(struct.pack("<I", 1000), struct.pack("<I", 10))
    with pytest.raises(RequestError, match=r"a\.jpg in img_zip is damaged"):
        read(io.BytesIO(content))


def test_files_with_overlapping_data_count_separately() -> None:
    """In a zip bomb, all entries of the central directory refer to the same packed bytes (Fifield, WOOT 2019)."""
    content = make_zip({"0001.bmp": bytes(2 * MEGABYTE)}).getvalue()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entries = b"".join(content[start:end].replace(b"0001", b"%04d" % n) for n in range(100))
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 100, 100, len(entries), start, 0)
    with pytest.raises(TooLarge, match="unpacks to 200 MB"):
        read(io.BytesIO(content[:start] + entries + tail))


def test_too_many_files_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(TooLarge, match="4 files: at most 3"):
        read(make_zip({str(n): b"" for n in range(4)}))


def test_a_huge_central_directory_is_not_read() -> None:
    entries = b"PK\x01\x02" + bytes(42)
    content = entries * 200_000
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, len(content), 0, 0)
    with pytest.raises(TooLarge, match="too many files"):
        read(io.BytesIO(content + tail))


def test_a_member_is_read_in_pieces() -> None:
    with open_archive(make_zip({"a": bytes(3 * MEGABYTE)}), "img_zip", 100 * MEGABYTE) as archive:
        (member,) = archive.members
        assert max(map(len, member.unpack())) <= archives.PIECE
        assert member.path == PurePosixPath("a")
