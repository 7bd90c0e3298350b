"""Pages of PDFs: scans at their own pixels, rendered pages, and files that are damaged or hostile."""

import io
from pathlib import Path

import psutil
import pypdfium2
import pytest
from PIL import Image, ImageDraw

from app.errors import FetchError, ManifestError, NotAnImage
from app.iiif.images import FetchedImage
from app.sources.pdf_pages import PdfPages
from tests.support.drawn_pdfs import build_page, build_pdf, build_scan, build_stream

WHOLE = b"q 595 0 0 842 0 0 cm /R0 Do Q"
TEXT = b" BT /F 20 Tf %d Tr 50 50 Td (text) Tj ET"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pdf"


def draw_scan(width: int = 300, height: int = 424, mode: str = "RGB") -> Image.Image:
    """Return an image with a black top left quarter."""
    image = Image.new("L", (width, height), 255)
    ImageDraw.Draw(image).rectangle((0, 0, width // 2 - 1, height // 2 - 1), fill=0)
    return image.convert(mode)


def read(path: Path, content: bytes) -> FetchedImage:
    """Return the image of the only page."""
    path.write_bytes(content)
    files = PdfPages(path, "file.pdf")
    try:
        return files.read("1")
    finally:
        files.close()


def find_quarter(page: FetchedImage) -> tuple[int, int, int, int] | None:
    """Return the corners of the black part of a page."""
    image = Image.open(io.BytesIO(page.data)).convert("L")
    return image.point(lambda value: 255 * (value < 128)).getbbox()


@pytest.mark.parametrize(
    "drawing",
    [WHOLE, WHOLE + TEXT % 3, b"q 5 5 585 832 re W n " + WHOLE + b" Q"],
    ids=["alone", "under recognised text", "clipped at the margin"],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_scan_stored_as_jpeg_is_returned_unchanged(path: Path, mode: str, drawing: bytes) -> None:
    scan = draw_scan(mode=mode)
    content = io.BytesIO()
    scan.save(content, "JPEG")
    page = read(path, build_page(drawing, build_scan(scan)))
    assert page.data == content.getvalue()
    assert (page.full_width, page.full_height) == scan.size


@pytest.mark.parametrize(("mode", "decode"), [("L", b"[1 0]"), ("RGB", b"[ 1.0 0 1.0 0 1.0 0 ]")])
def test_a_jpeg_with_inverted_colours_is_not_returned_as_a_negative(path: Path, mode: str, decode: bytes) -> None:
    scan = build_scan(draw_scan(mode=mode)).replace(b"/Filter", b"/Decode" + decode + b"/Filter")
    page = read(path, build_page(WHOLE, scan))
    assert (page.full_width, page.full_height) == (300, 424)
    image = Image.open(io.BytesIO(page.data)).convert("L")
    assert (image.getpixel((50, 50)), image.getpixel((250, 50))) == pytest.approx((255, 0), abs=3)


@pytest.mark.parametrize(
    ("clip", "quarter"),
    [
        (b"0 0 595 421 re", None),
        (b"100 421 497 421 re", (50, 0, 150, 212)),
        (b"10 10 5 5 re", None),
        (b"0 0 m 595 0 l 595 842 l h", None),
    ],
    ids=["lower half", "part", "corner", "triangle"],
)
def test_a_clipped_jpeg_shows_what_the_page_shows(path: Path, clip: bytes, quarter: tuple[int, ...] | None) -> None:
    page = read(path, build_page(b"q %b W n 595 0 0 842 0 0 cm /R0 Do Q" % clip, build_scan(draw_scan(mode="L"))))
    assert (page.full_width, page.full_height) == (300, 424)
    assert find_quarter(page) == (quarter and pytest.approx(quarter, abs=1))


@pytest.mark.parametrize(("mode", "form"), [("1", "raw"), ("L", "raw"), ("RGB", "raw"), ("CMYK", "JPEG")])
def test_another_scan_keeps_its_number_of_pixels(path: Path, mode: str, form: str) -> None:
    page = read(path, build_page(WHOLE, build_scan(draw_scan(mode=mode), form)))
    assert (page.full_width, page.full_height) == (300, 424)
    assert find_quarter(page) == pytest.approx((0, 0, 150, 212), abs=1)


@pytest.mark.parametrize(
    ("drawing", "more", "size", "quarter"),
    [
        (WHOLE, b"/Rotate 90", (424, 300), (212, 0, 424, 150)),
        (WHOLE, b"/Rotate 180", (300, 424), (150, 212, 300, 424)),
        (b"q 595 0 0 -842 0 842 cm /R0 Do Q", b"", (300, 424), (0, 212, 150, 424)),
        (b"q 0 842 -595 0 595 0 cm /R0 Do Q", b"", (424, 300), (0, 150, 212, 300)),
        (WHOLE, b"/CropBox[0 421 595 842]", (300, 212), (0, 0, 150, 212)),
    ],
    ids=["page turned", "page upside down", "mirrored", "image turned", "cropped"],
)
def test_a_scan_is_read_as_the_page_shows_it(
    path: Path, drawing: bytes, more: bytes, size: tuple[int, int], quarter: tuple[int, ...]
) -> None:
    page = read(path, build_page(drawing, build_scan(draw_scan()), more=more))
    assert (page.full_width, page.full_height) == size
    assert find_quarter(page) == pytest.approx(quarter, abs=2)


@pytest.mark.parametrize(
    "drawing",
    [
        b"0 0 100 100 re f",
        WHOLE + TEXT % 0,
        WHOLE + b" 0 0 100 100 re f",
        b"q 300 0 0 424 0 0 cm /R0 Do Q",
        WHOLE + b" q 100 0 0 100 0 0 cm /R0 Do Q",
    ],
    ids=["no image", "text over a scan", "drawing over a scan", "a figure", "two images"],
)
def test_any_other_page_is_rendered_with_300_dpi(path: Path, drawing: bytes) -> None:
    page = read(path, build_page(drawing, build_scan(draw_scan())))
    assert (page.full_width, page.full_height) == (round(595 * 300 / 72), round(842 * 300 / 72))


@pytest.mark.parametrize("box", [b"0 0 100000 100000", b"0 0 100000 1", b"0 0 0 0"])
def test_the_pixels_of_a_page_are_bounded(path: Path, box: bytes) -> None:
    page = read(path, build_page(b"0 0 50000 50000 re f", box=box))
    assert page.full_width * page.full_height <= 81_000_000
    assert max(page.full_width, page.full_height) <= 30_000


def test_a_page_that_is_too_large_or_damaged_fails_with_a_reason(path: Path) -> None:
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8/Filter/DCTDecode"
    for size, reason in (((60_000, 60_000), "60000 x 60000 pixels"), ((300, 424), "could not be rendered")):
        with pytest.raises(NotAnImage, match=reason):
            read(path, build_page(WHOLE, build_stream(entries % size, b"\xff\xd8\xff\xd9")))


def test_a_process_that_dies_fails_one_page_only(path: Path) -> None:
    path.write_bytes(build_page(WHOLE, build_scan(draw_scan())))
    files = PdfPages(path, "file.pdf")
    before = {*psutil.Process().children()}
    files.list_pages(1)
    (child,) = {*psutil.Process().children()} - before
    child.kill()
    with pytest.raises(FetchError, match="Page 1 of the PDF needs too much memory or is damaged") as caught:
        files.read("1")
    assert caught.value.temporary
    assert files.read("1").full_width == 300
    files.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (build_page(b"")[:200], "is damaged or incomplete"),
        (build_pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"]), "damaged|without pages"),
        (
            build_page(
                b"",
                b"<</Filter/Standard/V 1/R 2/O<%b>/U<%b>/P -4>>" % (b"41" * 32, b"42" * 32),
                trailer=b"/Encrypt 6 0 R/ID[<00><00>]",
            ),
            "has a password: remove it",
        ),
    ],
    ids=["truncated", "no pages", "password"],
)
def test_a_pdf_that_cannot_be_used_is_refused_with_a_reason(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=f"file.pdf.*{reason}"):
        PdfPages(path, "file.pdf").list_pages(10)


def test_a_pdf_with_too_many_pages_is_refused(path: Path) -> None:
    document = pypdfium2.PdfDocument.new()
    for _ in range(11):
        document.new_page(72, 72)
    document.save(path)
    document.close()
    files = PdfPages(path, "file.pdf")
    with pytest.raises(ManifestError, match="has 11 pages; at most 10 are accepted"):
        files.list_pages(10)
    files.close()
