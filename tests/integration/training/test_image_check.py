"""Uploaded images that are valid, damaged, too large, or of another format."""

import struct
import zlib
from pathlib import Path

import pytest

from app.errors import RequestError
from app.training.image_check import check_images, find_suffix
from tests.support.archives import make_image

MEGAPIXEL = 1_000_000


def check(folder: Path, content: bytes, name: str = "p1.jpg", seconds: float = 60) -> None:
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "p0.jpg").write_bytes(make_image())
    (folder / "train" / name).write_bytes(content)
    check_images(folder, MEGAPIXEL, seconds)


def make_png_head(width: int, height: int) -> bytes:
    """Return the start of a PNG file that declares a size, without any pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 8192, b"IDAT")


@pytest.mark.parametrize(
    ("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("BMP", ".bmp")]
)
def test_an_image_format_is_recognised_by_its_first_bytes(tmp_path: Path, kind: str, suffix: str) -> None:
    content = make_image(kind)
    assert find_suffix(content[:16]) == suffix
    check(tmp_path, content, f"p1{suffix}")


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4", b"<svg>", b"GIF89a", b"\0\0\0\x0cjP  \r\n", b"RIFF\0\0\0\0WAVE"])
def test_other_formats_have_no_suffix(content: bytes) -> None:
    assert find_suffix(content) == ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_a_truncated_image_is_named(tmp_path: Path, kind: str) -> None:
    content = make_image(kind, (300, 400))
    with pytest.raises(RequestError, match=r"^p1\.jpg is a damaged image"):
        check(tmp_path, content[: len(content) * 2 // 3])


def test_a_file_with_only_an_image_signature_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^p1\.jpg is a damaged image\.$"):
        check(tmp_path, b"\xff\xd8\xff" + b"hello" * 100)


def test_an_image_with_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^p1\.png has 60000 x 60000 pixels"):
        check(tmp_path, make_png_head(60_000, 60_000), "p1.png")


def test_images_that_take_too_long_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="take too long"):
        check(tmp_path, make_image(), seconds=0.001)


def test_an_image_that_crashes_the_subprocess_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "p1.jpg").mkdir(parents=True)  # causes an unexpected exception
    with pytest.raises(RequestError, match=r"^p1\.jpg cannot be decoded"):
        check_images(tmp_path, MEGAPIXEL, 60)
