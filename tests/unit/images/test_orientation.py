"""EXIF orientations: pixels, sizes and boxes are those of the upright image."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageDraw
from PIL.Image import Transpose

from app.images.formats import check_image
from app.images.pixels import decode_image, read_size
from tests.support.rectangle_finder import EdgeFinder

# How the pixels of an upright image are stored: the inverse of the transposition that a viewer applies.
STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
FORMS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "MPO": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 95},
}


def save_tagged(image: Image.Image, orientation: Any, form: str = "JPEG", **options: Any) -> bytes:
    """Save an upright image with an orientation, its pixels stored accordingly."""
    exif, body = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    turn = STORED.get(orientation)
    (image if turn is None else image.transpose(turn)).save(body, form, exif=exif, **FORMS[form] | options)
    return body.getvalue()


def draw_page(width: int = 60, height: int = 90) -> Image.Image:
    """Return a page that looks different in every orientation."""
    page = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(page).rectangle((4, 4, width // 2, height // 4), fill="black")
    ImageDraw.Draw(page).rectangle((4, height // 2, width // 4, height - 8), fill=(200, 30, 30))
    return page


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", STORED)
def test_pixels_and_sizes_are_upright(orientation: int, form: str) -> None:
    page = draw_page()
    data = save_tagged(page, orientation, form)
    pixels, size = decode_image(io.BytesIO(data), None)
    assert tuple(size) == (60, 90) == check_image(data, "x", 10_000) == read_size(io.BytesIO(data))
    difference = np.abs(pixels.astype(int) - np.asarray(page).astype(int))
    assert difference.mean() < 3  # of compression; another orientation has more than 50


@pytest.mark.parametrize("orientation", STORED)
def test_compressed_tiff_files_are_upright(orientation: int) -> None:
    data = save_tagged(draw_page(), orientation, "TIFF", compression="tiff_lzw")
    pixels, _ = decode_image(io.BytesIO(data), None)
    assert (pixels == np.asarray(draw_page())).all()
    assert check_image(data, "x", 10_000) == (60, 90)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_pages_of_other_modes_are_upright(mode: str) -> None:
    page = Image.fromarray(np.arange(20, dtype=np.uint16).reshape(5, 4) * 3000)
    page = page if mode == "I;16" else page.point(lambda value: value / 256, mode="L").convert(mode)
    upright, _ = decode_image(io.BytesIO(save_tagged(page, 1, "PNG")), None)
    turned, size = decode_image(io.BytesIO(save_tagged(page, 6, "PNG")), None)
    assert (tuple(size), turned.tolist()) == ((4, 5), upright.tolist())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("size", [(1203, 1607), (1201, 1601)])
def test_a_reduced_decode_of_a_turned_page_is_exact_to_a_pixel(orientation: int, size: tuple[int, int]) -> None:
    width, height = size
    box = (width // 9, height // 7, width - width // 4, height - 5)
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="black")
    pixels, (reduced_width, reduced_height) = decode_image(io.BytesIO(save_tagged(page, orientation)), 160)
    assert max(pixels.shape) == 201  # decoded at 1/8
    found = EdgeFinder()(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255)[0, :4, 0].tolist()
    x, w = (each * width / reduced_width for each in (found[0], found[2]))
    y, h = (each * height / reduced_height for each in (found[1], found[3]))
    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    assert max(abs(a - b) for a, b in zip(corners, box, strict=True)) <= 1


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_is_ignored(orientation: int) -> None:
    for form in ("JPEG", "PNG", "TIFF"):
        assert check_image(save_tagged(draw_page(), orientation, form), "x", 10_000) == (60, 90)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0hello", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"]
)
def test_damaged_exif_data_are_ignored(exif: bytes) -> None:
    body = io.BytesIO()
    draw_page().save(body, "JPEG", exif=exif)
    assert check_image(body.getvalue(), "x", 10_000) == (60, 90)
    assert tuple(decode_image(body, None)[1]) == (60, 90)


def test_exif_data_may_follow_an_xmp_segment() -> None:
    """https://github.com/earendil-works/pi/issues/8571"""
    data = save_tagged(draw_page(), 6)
    packet = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    data = data[:2] + b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet + data[2:]
    assert check_image(data, "x", 10_000) == (60, 90)


def test_an_orientation_in_xmp_is_ignored_as_in_browsers() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for form in ("JPEG", "WEBP"):
        body = io.BytesIO()
        draw_page().save(body, form, xmp=xmp)
        assert check_image(body.getvalue(), "x", 10_000) == tuple(decode_image(body, None)[1]) == (60, 90)
