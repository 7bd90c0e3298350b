"""The EXIF orientation of image files.

**All coordinates of this service are in pixels of the upright image: as a browser shows it, after the orientation is
applied.** This holds for sizes, boxes and crops. Browsers apply the EXIF orientation of every image file
(https://www.w3.org/TR/css-images-3/#the-image-orientation), and ignore an orientation in XMP.
"""

from contextlib import suppress
from typing import TypeVar

from PIL import ExifTags, Image
from PIL.Image import Transpose

Length = TypeVar("Length", int, float)

# The transposition that makes the image upright: https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SIDEWAYS = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)


def find_turn(image: Image.Image) -> Transpose | None:
    """Return the transposition that makes an opened image upright, or None.

    The result for a TIFF file is None: Pillow turns it when it is decoded, and its size is that of the upright image.
    """
    if "exif" not in image.info:
        return None
    exif = Image.Exif()
    # Pillow may raise any exception for damaged EXIF data. Browsers then do not turn the image.
    with suppress(Exception):
        exif.load(image.info["exif"])
        return _UPRIGHT.get(exif.get(ExifTags.Base.Orientation, 1))
    return None


def turn_size(size: tuple[Length, Length], turn: Transpose | None) -> tuple[Length, Length]:
    """Return the (width, height) of an image after a transposition."""
    width, height = size
    return (height, width) if turn in _SIDEWAYS else (width, height)
