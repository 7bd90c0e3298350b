"""Load images at a reduced size, and encode them as JPEG, to show them to people."""

import io
import threading
from pathlib import Path

from PIL import Image

from app.images.pixels import decode_picture

# A scan may need 500 MB while it is decoded, so each process decodes one at a time.
_DECODING = threading.Lock()


def load_reduced(path: Path, longest: int) -> Image.Image:
    """Return an image in RGB, reduced to a longer side in pixels. A smaller image keeps its size.

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: The file is missing or damaged, see ``UNREADABLE``.
    """
    with _DECODING, path.open("rb") as file:
        picture, _ = decode_picture(file, longest)
        picture.thumbnail((longest, longest))
    return picture


def format_jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return content.getvalue()
