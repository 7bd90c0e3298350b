"""Whether the images of an upload can be read, found out in a process of its own.

An image is decoded by code that takes as much memory as the file asks for, and that may crash. Here both end with that
process: the one that serves the API decodes nothing.

    python -m app.training.image_check FOLDER MOST-PIXELS    names each file, and says of the first bad one what it has
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

from app.errors import RequestError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
# What the process takes for itself, and for each pixel of the largest image: four channels, decoded more than once.
_BASE_BYTES, _PIXEL_BYTES = 1_000_000_000, 16
_FAULTY = 3
_ROOT = Path(__file__).resolve().parents[2]


def find_suffix(beginning: bytes) -> str:
    """Return the ending for a file that begins so, "" when it is no image of a kind that is read here."""
    if beginning.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if beginning.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if beginning.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return ".tif"
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return ".webp"
    return ".bmp" if beginning.startswith(b"BM") else ""


def check_pictures(folder: Path, max_pixels: int, seconds: float) -> None:
    """Decode every image under a folder once.

    Args:
        folder: Of image files.
        max_pixels: That an image may have.
        seconds: For all of them.

    Raises:
        RequestError: One is damaged, or has too many pixels; or all take too long.
    """
    command = [sys.executable, "-m", "app.training.image_check", str(folder), str(max_pixels)]
    try:
        run = subprocess.run(  # noqa: S603 (no word of it from outside)
            command, cwd=_ROOT, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RequestError("The images take too long to read: send fewer at a time.") from error
    if run.returncode:
        *_, last = ["An image", *run.stdout.decode(errors="replace").splitlines()]
        raise RequestError(last if run.returncode == _FAULTY else f"{last} cannot be read: save it anew.")


def _check_all(folder: Path, max_pixels: int) -> None:
    """Name each image before it is decoded: of a process that crashes, the last line says at which."""
    from PIL import Image, UnidentifiedImageError

    from app.errors import NotAnImage
    from app.images.formats import check_image

    Image.MAX_IMAGE_PIXELS = None  # the limit here is ours
    for path in sorted(folder.rglob("*.*")):
        _say(path.name)
        try:
            check_image(path.read_bytes(), path.name, max_pixels, FORMATS)
        except NotAnImage as error:
            broken = isinstance(error.__cause__, UnidentifiedImageError)
            _say(f"{path.name} is a damaged image." if broken else error.message)
            sys.exit(_FAULTY)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    most_pixels = int(sys.argv[2])
    most_bytes = _BASE_BYTES + _PIXEL_BYTES * most_pixels
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    os.nice(10)
    _check_all(Path(sys.argv[1]), most_pixels)
