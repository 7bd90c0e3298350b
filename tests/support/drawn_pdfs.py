"""PDF files, object by object: https://www.iso.org/standard/75839.html, 7.5 (file structure)."""

import io
from collections.abc import Sequence

from PIL import Image

A4 = b"0 0 595 842"


def build_pdf(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Return a PDF whose objects have the numbers 1, 2, …; the first one is the catalog."""
    content, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    ending = b"trailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF" % (count, trailer, len(content))
    return content + b"xref\n0 %d\n%b" % (count, table) + ending


def build_stream(entries: bytes, data: bytes) -> bytes:
    """Return a stream object."""
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(data), data)


def build_page(drawing: bytes, *resources: bytes, box: bytes = A4, more: bytes = b"", trailer: bytes = b"") -> bytes:
    """Return a PDF with one page.

    Args:
        drawing: Content stream of the page. It draws a resource with ``/R0 Do``.
        resources: Streams of images and forms: ``R0``, ``R1``, …
        box: Media box, in points.
        more: Further entries of the page, such as ``/Rotate 90``.
        trailer: Further entries of the trailer.
    """
    names = b"".join(b"/R%d %d 0 R" % (index, index + 6) for index in range(len(resources)))
    fonts = b"/Font<</F 5 0 R>>/XObject<<%b>>" % names
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[%b]/Contents 4 0 R/Resources<<%b>>%b>>" % (box, fonts, more)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page,
        build_stream(b"", drawing),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *resources,
    ]
    return build_pdf(objects, trailer)


def build_scan(image: Image.Image, form: str = "JPEG") -> bytes:
    """Return an image as a resource, stored as JPEG or as raw pixels."""
    colours = {"L": b"DeviceGray", "RGB": b"DeviceRGB", "1": b"DeviceGray", "CMYK": b"DeviceCMYK"}[image.mode]
    size = b"/Width %d/Height %d" % image.size
    entries = b"/Type/XObject/Subtype/Image%b/ColorSpace/%b" % (size, colours)
    entries += b"/BitsPerComponent %d" % (1 if image.mode == "1" else 8)
    if form != "JPEG":
        return build_stream(entries, image.tobytes())
    if image.mode == "CMYK":  # Pillow inverts the samples, as Photoshop does
        entries += b"/Decode[1 0 1 0 1 0 1 0]"
    content = io.BytesIO()
    image.save(content, "JPEG")
    return build_stream(entries + b"/Filter/DCTDecode", content.getvalue())
