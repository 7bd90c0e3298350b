"""The process that reads a PDF. PDFium is not thread-safe, and a hostile PDF may crash it or need much memory or time.

    python -m app.sources.pdf_process FILE

It writes one line of JSON about the document, then the answer to each line of its input, which is a page number. An
answer is a line of JSON, followed by the image. The system ends the process if a page takes too long.
"""

import ctypes
import functools
import io
import json
import math
import mmap
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw
from PIL import Image

from app.images.formats import MAX_IMAGE_PIXELS, encode_image

# Time limit of one page, in seconds.
PAGE_SECONDS = 60
# Address space. A page with MOST_PIXELS needs less than 1 GB.
MEMORY_BYTES = 2 << 30
# Resolution of a page that is not a scan: that of good scans.
DPI = 300
MOST_PIXELS = 80_000_000
LONGEST_SIDE = 30_000
# Part of a page, in both directions, that an image must cover to be a scan of the page.
COVERED = 0.95
# Objects of a page that are examined. A page with more is rendered.
_MOST_OBJECTS = 20_000
_JPEG_COLOURS = {
    raw.FPDF_COLORSPACE_DEVICEGRAY,
    raw.FPDF_COLORSPACE_DEVICERGB,
    raw.FPDF_COLORSPACE_CALGRAY,
    raw.FPDF_COLORSPACE_CALRGB,
    raw.FPDF_COLORSPACE_ICCBASED,
}
# The description of a JPEG image in grey or RGB whose samples are inverted. PDFium does not report this.
_INVERTED = rb"/Decode\s*\[(?:\s*1(?:\.0*)?\s+0(?:\.0*)?){1,3}\s*\]"
_INVERTED_JPEG = re.compile(rb"/DCTDecode[^>]{0,1000}%b|%b[^>]{0,1000}/DCTDecode" % (_INVERTED, _INVERTED))
_PASSWORD = raw.FPDF_ERR_PASSWORD


def main() -> None:
    with suppress(ValueError, OSError):  # a lower limit holds already, or the system has none
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    Image.MAX_IMAGE_PIXELS = None  # the page is limited here, and checked by the parent process
    signal.alarm(PAGE_SECONDS)
    try:
        document = pdfium.PdfDocument(sys.argv[1])
        _answer({"pages": len(document)})
    except pdfium.PdfiumError as error:
        _answer({"error": "password" if getattr(error, "err_code", None) == _PASSWORD else "damaged"})
        return
    for line in sys.stdin:
        signal.alarm(PAGE_SECONDS)
        try:
            image = _read_page(document, int(line) - 1, _has_inverted_jpeg(sys.argv[1]))
        except (pdfium.PdfiumError, ValueError, OSError, MemoryError) as error:
            _answer({"error": str(error)[:200] or type(error).__name__})
        else:
            _answer({"bytes": len(image)}, image)
        signal.alarm(0)


def _answer(facts: dict[str, Any], image: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + image)
    sys.stdout.buffer.flush()


@functools.cache
def _has_inverted_jpeg(path: str) -> bool:
    """Return whether a PDF has a JPEG image that its pages show with inverted colours."""
    with suppress(OSError), open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _INVERTED_JPEG.search(content) is not None
    return False  # larger than the address space


def _read_page(document: pdfium.PdfDocument, index: int, has_inverted: bool) -> bytes:
    page = document[index]
    try:
        return _convert(page, has_inverted)
    finally:
        page.close()


def _convert(page: pdfium.PdfPage, has_inverted: bool) -> bytes:
    """Return a page as an image file.

    * one embedded JPEG scan: this JPEG file, unless the document has a JPEG image with inverted colours
    * another embedded scan: rendered with as many pixels as the scan
    * any other page: rendered with 300 dpi
    """
    scan = _find_scan(page)
    if scan is None:
        scale = DPI / 72
        return _render(page, scale, scale)
    if not has_inverted and (data := _extract_jpeg(page, scan)):
        return data
    scan.get_bitmap().close()  # raises if the image is damaged; the page would be blank
    across, down = _measure_scale(page, scan)
    return _render(page, across, down, is_bitonal=scan.get_metadata().bits_per_pixel == 1)


def _find_scan(page: pdfium.PdfPage) -> pdfium.PdfImage | None:
    """Return the only image of a page that covers it, if nothing visible is drawn over it.

    Recognised text is drawn over scans as invisible text.
    """
    scan = None
    for count, item in enumerate(page.get_objects(max_depth=4)):
        if count == _MOST_OBJECTS:
            return None
        if item.type == raw.FPDF_PAGEOBJ_IMAGE:
            _check_pixels(item)
            if scan is not None:
                return None
            scan = item
        elif scan is not None and item.type != raw.FPDF_PAGEOBJ_FORM and not _is_invisible(item):
            return None
    return scan if scan is not None and scan.level == 0 and _covers(page, scan) else None


def _check_pixels(image: pdfium.PdfImage) -> None:
    """Refuse an image for which PDFium has no memory. It would leave the page blank."""
    width, height = image.get_px_size()
    if width * height > MAX_IMAGE_PIXELS:
        raise ValueError(f"an image has {width} x {height} pixels, but at most {MAX_IMAGE_PIXELS} are accepted")


def _is_invisible(item: pdfium.PdfObject) -> bool:
    modes = (raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP)
    return item.type == raw.FPDF_PAGEOBJ_TEXT and raw.FPDFTextObj_GetTextRenderMode(item) in modes


def _covers(page: pdfium.PdfPage, image: pdfium.PdfImage) -> bool:
    left, bottom, right, top = page.get_bbox()
    x1, y1, x2, y2 = image.get_bounds()
    width = min(right, x2) - max(left, x1)
    height = min(top, y2) - max(bottom, y1)
    return bool(width >= COVERED * (right - left) and height >= COVERED * (top - bottom))


def _is_cut(page: pdfium.PdfPage, image: pdfium.PdfImage) -> bool:
    """Return whether the page shows less than the whole image."""
    left, bottom, right, top = page.get_bbox()
    x1, y1, x2, y2 = image.get_bounds()
    margin = (1 - COVERED) * max(right - left, top - bottom)
    return bool(x1 < left - margin or y1 < bottom - margin or x2 > right + margin or y2 > top + margin)


def _is_clipped(image: pdfium.PdfImage) -> bool:
    """Return whether a clipping path hides a part of an image. A rectangle around the image hides nothing."""
    left, bottom, right, top = image.get_bounds()
    across, down = (1 - COVERED) * (right - left), (1 - COVERED) * (top - bottom)
    clip = raw.FPDFPageObj_GetClipPath(image)
    for index in range(raw.FPDFClipPath_CountPaths(clip)):  # -1 without a path
        corners = set()
        for x, y in _list_points(clip, index):
            if left + across < x < right - across or bottom + down < y < top - down:
                return True
            corners.add((x >= right - across, y >= top - down))
        if len(corners) < 4:
            return True
    return False


def _list_points(clip: Any, index: int) -> Iterator[tuple[float, float]]:
    """Yield the points of a path of a clip path, in points of the page."""
    x, y = ctypes.c_float(), ctypes.c_float()
    for number in range(raw.FPDFClipPath_CountPathSegments(clip, index)):
        raw.FPDFPathSegment_GetPoint(raw.FPDFClipPath_GetPathSegment(clip, index, number), x, y)
        yield x.value, y.value


def _extract_jpeg(page: pdfium.PdfPage, image: pdfium.PdfImage) -> bytes | None:
    """Return the JPEG file of a scan, or None if the page shows it turned, cut, clipped, masked or in other colours."""
    matrix = image.get_matrix()
    upright = matrix.a > 0 and matrix.d > 0 and abs(matrix.b) + abs(matrix.c) < 0.01 * min(matrix.a, matrix.d)
    if not upright or page.get_rotation() or image.get_filters(skip_simple=True) != ["DCTDecode"]:
        return None
    if raw.FPDFPageObj_HasTransparency(image) or _is_cut(page, image) or _is_clipped(image):
        return None
    if image.get_metadata().colorspace not in _JPEG_COLOURS:
        return None
    data = bytes(image.get_data(decode_simple=True))
    with suppress(Exception), Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        is_plain = picture.mode in ("L", "RGB") and picture.getexif().get(0x0112, 1) == 1
        if is_plain and picture.size == image.get_px_size():
            return data
    return None


def _measure_scale(page: pdfium.PdfPage, image: pdfium.PdfImage) -> tuple[float, float]:
    """Return the pixels per point, in both directions of the page, at which it shows each pixel of an image once."""
    matrix, (width, height) = image.get_matrix(), image.get_px_size()
    across, down = width / math.hypot(matrix.a, matrix.b), height / math.hypot(matrix.c, matrix.d)
    is_turned = (abs(matrix.b) > abs(matrix.a)) != (page.get_rotation() in (90, 270))
    return (down, across) if is_turned else (across, down)


def _render(page: pdfium.PdfPage, across: float, down: float, *, is_bitonal: bool = False) -> bytes:
    """Render a page, with fewer pixels if it has too many.

    Args:
        page: Page to render.
        across, down: Pixels per point.
        is_bitonal: Whether the page is black and white.
    """
    points = page.get_size()
    width, height = max(1.0, points[0] * across), max(1.0, points[1] * down)
    factor = min(1.0, math.sqrt(MOST_PIXELS / (width * height)), LONGEST_SIDE / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    bitmap = pdfium.PdfBitmap.new_native(*size, raw.FPDFBitmap_BGR)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, *size)
    raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, *size, 0, raw.FPDF_ANNOT)
    picture = bitmap.to_pil()
    if is_bitonal and factor == 1.0:
        content = io.BytesIO()
        picture.convert("1", dither=Image.Dither.NONE).save(content, "PNG")
        return content.getvalue()
    return encode_image(picture)


if __name__ == "__main__":
    main()
