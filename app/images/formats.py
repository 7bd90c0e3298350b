"""Supported image formats, and the check that an image file is complete."""

import io

from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage

# The formats in which libraries publish pages. Pillow supports about sixty.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000")

# Largest image from a library or in an upload. Pillow itself rejects more than 178 megapixels.
MAX_IMAGE_PIXELS = 170_000_000
MAX_IMAGE_BYTES = 200_000_000


def check_image(data: bytes, url: str, max_pixels: int, formats: tuple[str, ...] = IMAGE_FORMATS) -> tuple[int, int]:
    """Decode an image once and return its (width, height).

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
            # A reduced decode still reads every byte of a JPEG, at a fraction of the cost.
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
            return width, height
    except Image.DecompressionBombError as error:
        raise NotAnImage(f"{url} has too many pixels; at most {max_pixels} are accepted.") from error
    except UnidentifiedImageError as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "data in an unsupported format"
        raise NotAnImage(f"{url} returned {shown} instead of an image.") from error
    except NotAnImage:
        raise
    # Pillow's decoders may raise any exception for a damaged file.
    except Exception as error:
        shown = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise NotAnImage(f"{url} is a damaged image ({shown}).") from error
