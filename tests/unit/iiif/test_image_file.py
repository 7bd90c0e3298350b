import io
import random
import struct

import pytest
from PIL import Image

from app.errors import NotAnImage
from app.images.formats import IMAGE_FORMATS, check_image
from app.images.pixels import decode_image
from tests.support.library import draw_image


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (7, 7), (8, 8), (15, 9)])
def test_a_very_small_image_is_an_image(size: tuple[int, int]) -> None:
    assert check_image(draw_image(*size), "x", 1000) == size


@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_every_accepted_format_is_read(form: str) -> None:
    assert check_image(draw_image(60, 80, form), "x", 10_000) == (60, 80)


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ("PDF", "a PDF document"),
        ("EPS", "a PostScript"),
        ("ICO", "an icon"),
        ("TGA", "a Targa"),
        ("PCX", "a PCX file"),
        ("SGI", "an SGI file"),
        ("DDS", "a DDS file"),
        ("ICNS", "an icon"),
    ],
)
def test_other_formats_of_pillow_are_named(form: str, named: str) -> None:
    with pytest.raises(NotAnImage, match=f"x returned {named}.* instead of an image .*PPM or AVIF"):
        check_image(draw_image(64, 64, form), "x", 10_000)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"8BPS\0\1", "a Photoshop"),
        (b"%PDF-1.7", "a PDF document"),
        (b"AT&TFORM\0\0\0\0DJVM", "a DjVu document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"\xff\x0a\xfa", "a JPEG XL file"),
        (b"PK\3\4", "a zip archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b'\xef\xbb\xbf{"a": 1}', "a JSON document"),
        (b"[1]", "a JSON document"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">\n<svg>', "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html>\n<html>', "an HTML page"),
        (b"<HTML><body>", "an HTML page"),
        (b"<?xml version='1.0'?><TEI>", "an XML document"),
        (b"<error/>", "an HTML or XML document"),
        (b"hello", "data in an unsupported format"),
    ],
)
def test_other_contents_are_named(data: bytes, named: str) -> None:
    with pytest.raises(NotAnImage, match=f"x returned {named}.* instead of an image"):
        check_image(data, "x", 10_000)


def test_a_layout_of_samples_that_is_not_read_is_explained() -> None:
    head = struct.pack("<2sHIH", b"II", 42, 8, 4)
    entries = ((256, 4, 1, 9), (257, 4, 1, 9), (258, 3, 1, 64), (262, 3, 1, 1))
    data = head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    with pytest.raises(NotAnImage, match="a kind of TIFF that this service does not read; save it with 8 bits"):
        check_image(data, "x", 10_000)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_the_first_of_several_frames_is_used(form: str) -> None:
    """Cameras save JPEG files as MPO, with a preview: https://github.com/python-pillow/Pillow/issues/1138"""
    first, file = Image.new("RGB", (40, 30), "white"), io.BytesIO()
    frames = [Image.new("RGB", size, "black") for size in ((40, 30), *[(50, 60)] * (form in ("TIFF", "MPO")))]
    first.save(file, form, save_all=True, append_images=frames)
    assert check_image(file.getvalue(), "x", 10_000) == (40, 30)
    pixels, _ = decode_image(file, None)
    assert pixels.shape == (30, 40, 3)
    assert pixels.min() > 250


@pytest.mark.filterwarnings("ignore")  # warnings of Pillow about malformed files
@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_a_damaged_image_is_either_read_or_refused(form: str) -> None:
    chance = random.Random(4)
    whole = draw_image(40, 50, form)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(min(len(data), chance.choice([64, 10_000])))] = chance.randrange(256)
        del data[chance.choice([len(data), chance.randrange(len(data))]) :]
        try:
            width, height = check_image(bytes(data), "x", 100_000)
        except NotAnImage:
            continue
        assert width * height <= 100_000
