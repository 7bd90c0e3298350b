"""Image files as libraries send them: which formats are read, and whether a file is whole."""

import io

from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage

# The formats in which libraries publish pages; Pillow would try sixty.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000")

# Largest image of a library or an upload. Pillow itself refuses more than 178 megapixels.
MAX_IMAGE_PIXELS = 170_000_000
MAX_IMAGE_BYTES = 200_000_000


def check_image(data: bytes, url: str, max_pixels: int, formats: tuple[str, ...] = IMAGE_FORMATS) -> tuple[int, int]:
    """Decode an image once and return its (width, height).

    Raises:
        NotAnImage: The bytes are something else, are cut short, or unpack to too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise NotAnImage(f"{url} has {width} x {height} pixels, more than are accepted.")
            # A reduced decode reads every byte of a JPEG at a fraction of the cost.
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
            return width, height
    except Image.DecompressionBombError as error:
        raise NotAnImage(f"{url} has more pixels than are accepted.") from error
    except UnidentifiedImageError as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "no image"
        raise NotAnImage(f"{url} answered {shown} instead of an image.") from error
    except NotAnImage:
        raise
    # Of a mangled file, Pillow's decoders can raise anything.
    except Exception as error:
        shown = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise NotAnImage(f"{url} is a damaged image ({shown}).") from error
