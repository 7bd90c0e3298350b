"""Supported image formats, the check that an image file is complete, and the format of joined images."""

import io

from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage
from app.images.orientation import find_turn, turn_size
from app.images.signatures import describe_content, find_format

# The formats in which libraries and authors publish pages. Pillow opens about forty. Each other decoder is code that a
# hostile file may attack: EPS runs Ghostscript, and some decode in Python without a limit of time or memory. HEIC, PDF
# and SVG need other software.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "GIF", "BMP", "PPM", "AVIF")

# Largest image from a library or in an upload. Pillow itself rejects more than 178 megapixels.
MAX_IMAGE_PIXELS = 170_000_000
MAX_IMAGE_BYTES = 200_000_000

# JPEG files have 16 bits for a side, and decoders need some for themselves.
LONGEST_JPEG_SIDE = 65_500


def encode_image(image: Image.Image) -> bytes:
    """Return an image as a file for the cache: a JPEG of high quality, or a PNG if a side is too long for JPEG."""
    content = io.BytesIO()
    if max(image.size) > LONGEST_JPEG_SIDE:
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=95, subsampling=0)
    return content.getvalue()


def check_image(data: bytes, url: str, max_pixels: int, formats: tuple[str, ...] = IMAGE_FORMATS) -> tuple[int, int]:
    """Decode an image once and return its (width, height), upright: see :mod:`app.images.orientation`.

    Args:
        data: Content of the file.
        url: URL or name of the file; named in errors.
        max_pixels: Largest number of pixels that is accepted.
        formats: Accepted formats, by their names in Pillow.

    Raises:
        NotAnImage: The data is not an image, is incomplete, or has too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise NotAnImage(f"{url} has {width} x {height} pixels; at most {max_pixels} pixels are accepted.")
            turn = find_turn(image)
            # A reduced decode still reads every byte of a JPEG, at a fraction of the cost.
            drafted = image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
            width, height = turn_size((width, height) if drafted else image.size, turn)
            return width, height
    except Image.DecompressionBombError as error:
        raise NotAnImage(f"{url} has too many pixels; at most {max_pixels} are accepted.") from error
    except NotAnImage:
        raise
    # Pillow's decoders may raise any exception for a damaged file.
    except Exception as error:
        raise NotAnImage(f"{url} {_explain(data, formats, error)}.") from error


def _explain(data: bytes, formats: tuple[str, ...], error: Exception) -> str:
    """Return why a file cannot be decoded, as the end of a sentence about it."""
    found = find_format(data)
    if found not in formats:
        wanted = f"{', '.join(formats[:-1])} or {formats[-1]}"
        shown = describe_content(data)
        return f"returned {shown} instead of an image that this service reads; the address must return {wanted}"
    if not isinstance(error, UnidentifiedImageError):
        return f"is a damaged image ({(str(error) or type(error).__name__).splitlines()[0][:120]})"
    # Pillow does not identify these files either if it does not know the layout of their samples.
    if found in ("TIFF", "BMP"):
        return f"is damaged, or a kind of {found} that this service does not read; save it with 8 bits per sample"
    return "is a damaged image"
