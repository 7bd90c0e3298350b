"""Check of uploaded images in a subprocess.

Image decoders allocate as much memory as a file asks for, and may crash. The API process therefore decodes no images;
the subprocess has a memory limit.

    python -m app.training.image_check FOLDER MOST-PIXELS

The subprocess prints the name of each file before it decodes it, and stops at the first invalid one with an error
message.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

from PIL import Image

from app.errors import NotAnImage, RequestError
from app.images.formats import check_image, find_format

# The formats that ultralytics accepts under their usual suffix. GIF and PPM are missing there; JPEG2000 and AVIF files
# are too slow to decode in every epoch.
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}
FORMATS = tuple(_SUFFIXES)
# Memory limit of the subprocess: a base, and bytes for each pixel of the largest image (4 channels, several copies).
_BASE_BYTES, _PIXEL_BYTES = 1_000_000_000, 16
_FAULTY = 3
_ROOT = Path(__file__).resolve().parents[2]


def find_suffix(beginning: bytes) -> str:
    """Return the suffix for an image file from its first bytes; "" if training cannot read the format."""
    return _SUFFIXES.get(find_format(beginning), "")


def check_images(folder: Path, max_pixels: int, seconds: float) -> None:
    """Decode every image below a folder in a subprocess.

    Args:
        folder: Folder with the image files.
        max_pixels: Maximum number of pixels of an image.
        seconds: Timeout for all images.

    Raises:
        RequestError: If an image is damaged or has too many pixels, or the timeout expires.
    """
    command = [sys.executable, "-m", "app.training.image_check", str(folder), str(max_pixels)]
    try:
        run = subprocess.run(  # noqa: S603 (no user input in the command)
            command, cwd=_ROOT, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RequestError("The images take too long to decode: send fewer in one upload.") from error
    if run.returncode:
        *_, last = ["An image", *run.stdout.decode(errors="replace").splitlines()]
        raise RequestError(last if run.returncode == _FAULTY else f"{last} cannot be decoded: save it again.")


def _check_all(folder: Path, max_pixels: int) -> None:
    """Print the name of each image, then decode it; after a crash, the last line names the faulty image."""
    Image.MAX_IMAGE_PIXELS = None  # check_image applies max_pixels instead
    for path in sorted(folder.rglob("*.*")):
        _say(path.name)
        try:
            check_image(path.read_bytes(), path.name, max_pixels, FORMATS)
        except NotAnImage as error:
            _say(error.message)
            sys.exit(_FAULTY)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    most_pixels = int(sys.argv[2])
    most_bytes = _BASE_BYTES + _PIXEL_BYTES * most_pixels
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    os.nice(10)
    _check_all(Path(sys.argv[1]), most_pixels)
