"""Image formats: recognise a file by its first bytes, check that it is complete, and encode joined images."""

import io
import re

from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage
from app.images.orientation import find_turn, turn_size

# The formats in which libraries and authors publish pages. Pillow opens about forty. Each other decoder is code that a
# hostile file may attack: EPS runs Ghostscript, and some decode in Python without a limit of time or memory. HEIC, PDF
# and SVG need other software.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "GIF", "BMP", "PPM", "AVIF")

# Largest image from a library or in an upload. Pillow itself rejects more than 178 megapixels.
MAX_IMAGE_PIXELS = 170_000_000
MAX_IMAGE_BYTES = 200_000_000

# JPEG files have 16 bits for a side, and decoders need some for themselves.
LONGEST_JPEG_SIDE = 65_500

# Pattern of the first bytes of the supported formats, by their names in Pillow.
_SUPPORTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WEBP": rb"RIFF....WEBP",
    "JPEG2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "PPM": rb"P([1-6]|[fF])\s",
    "AVIF": rb"....ftyp.{0,60}?avi[fs]",
}
_OTHERS = {
    "an HTML page": rb"\s*(<[?!].{0,500}?)??<(!doctype\s+)?html\b",
    "an SVG drawing": rb"\s*(<[?!].{0,500}?)??<(!doctype\s+)?svg\b",
    "an XML document": rb"\s*<\?xml",
    "a JSON document": rb"\s*[{[]",
    "a PDF document": rb"%PDF",
    "a DjVu document": rb"AT&TFORM",
    "a PostScript (EPS) file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "a HEIC file": rb"....ftyp(hei|hev|mif1|msf1)",
    "a JPEG XL file": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG XR file": rb"II\xbc",
    "a Photoshop (PSD) file": rb"8BPS",
    "a GIMP (XCF) file": rb"gimp xcf",
    "an OpenEXR file": rb"v/1\x01",
    "a FITS file": rb"SIMPLE  =",
    "a DICOM file": rb".{128}DICM",
    "a Targa (TGA) file": rb"\0(\0[\x02\x03\x0a\x0b]|\x01[\x01\x09])",
    "a PCX file": rb"\x0a[\0\x02\x03\x05]\x01",
    "an SGI file": rb"\x01\xda",
    "a DDS file": rb"DDS ",
    "a QOI file": rb"qoif",
    "a PAM file": rb"P7\s",
    "an XBM file": rb"\s*#define",
    "an icon (ICO or ICNS)": rb"\0\0\x01\0|icns",
    "a Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "a zip archive": rb"PK(\x03\x04|\x05\x06)",
    "a gzip archive": rb"\x1f\x8b",
    "a RAR archive": rb"Rar!\x1a",
    "a 7z archive": rb"7z\xbc\xaf",
    "a video": rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ",
    "sound": rb"ID3|OggS|fLaC|RIFF....WAVE",
    "an HTML or XML document": rb"\s*<",
}
_LONGEST = 1000
_FLAGS = re.DOTALL | re.IGNORECASE  # HTML tags in capital letters


def find_format(data: bytes) -> str:
    """Return the supported format of a file, by its name in Pillow; "" for all others."""
    return _find(_SUPPORTED, data)


def describe_content(data: bytes) -> str:
    """Return in words what a file contains, for an error message."""
    if found := find_format(data):
        return f"a file in the format {found}"
    return _find(_OTHERS, data.removeprefix(b"\xef\xbb\xbf")) or "data in an unsupported format"


def _find(patterns: dict[str, bytes], data: bytes) -> str:
    head = data[:_LONGEST]
    return next((name for name, start in patterns.items() if re.match(start, head, _FLAGS)), "")


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
