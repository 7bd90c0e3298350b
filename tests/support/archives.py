"""Pages and zip files for the uploads of tests."""

import io
import zipfile
from collections.abc import Mapping

from PIL import Image

YAML = b"names: [illustration, initial]\n"
BOX = b"0 0.5 0.5 0.2 0.4\n"


def make_image(kind: str = "JPEG", size: tuple[int, int] = (60, 80), colour: str = "ivory") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def make_zip(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name), content, compression)
    buffer.seek(0)
    return buffer


def open_zip(data: bytes) -> dict[str, bytes]:
    """Return the files of a zip file by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def make_pages(*stems: str, folder: str = "") -> tuple[io.BytesIO, io.BytesIO]:
    """Return a zip file of pages, and a zip file of their labels with one box per page."""
    prefix = f"{folder}/" if folder else ""
    images = make_zip({f"{prefix}{stem}.jpg": make_image() for stem in stems})
    return images, make_zip({f"{prefix}{stem}.txt": BOX for stem in stems})
