"""Images that are damaged, too large, or none."""

import struct
import zlib
from pathlib import Path

import pytest

from app.errors import RequestError
from app.training.image_check import check_pictures, find_suffix
from tests.support.archives import make_image

MEGAPIXEL = 1_000_000


def check(folder: Path, content: bytes, name: str = "p1.jpg", seconds: float = 60) -> None:
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "p0.jpg").write_bytes(make_image())
    (folder / "train" / name).write_bytes(content)
    check_pictures(folder, MEGAPIXEL, seconds)


def make_png_head(width: int, height: int) -> bytes:
    """Return the beginning of an image that says how large it is, and nothing else."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 8192, b"IDAT")


@pytest.mark.parametrize(
    ("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("BMP", ".bmp")]
)
def test_an_image_is_known_by_its_beginning_and_read(tmp_path: Path, kind: str, suffix: str) -> None:
    content = make_image(kind)
    assert find_suffix(content[:16]) == suffix
    check(tmp_path, content, f"p1{suffix}")


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4", b"<svg>", b"GIF89a", b"\0\0\0\x0cjP  \r\n", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_image_of_these_kinds_has_no_ending(content: bytes) -> None:
    assert find_suffix(content) == ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_an_image_that_breaks_off_is_named(tmp_path: Path, kind: str) -> None:
    content = make_image(kind, (300, 400))
    with pytest.raises(RequestError, match=r"^p1\.jpg is a damaged image"):
        check(tmp_path, content[: len(content) * 2 // 3])


def test_an_image_that_only_begins_as_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^p1\.jpg is a damaged image\.$"):
        check(tmp_path, b"\xff\xd8\xff" + b"hello" * 100)


def test_an_image_of_too_many_pixels_is_named_and_not_decoded(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^p1\.png has 60000 x 60000 pixels"):
        check(tmp_path, make_png_head(60_000, 60_000), "p1.png")


def test_images_that_take_too_long_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="take too long"):
        check(tmp_path, make_image(), seconds=0.001)


def test_an_image_at_which_the_process_dies_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "p1.jpg").mkdir(parents=True)  # an error that nobody foresaw
    with pytest.raises(RequestError, match=r"^p1\.jpg cannot be read"):
        check_pictures(tmp_path, MEGAPIXEL, 60)
