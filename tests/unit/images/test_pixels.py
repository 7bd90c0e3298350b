import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from app.images.pixels import decode_image
from tests.support.rectangle_finder import EdgeFinder


def draw(width: int, height: int, box: tuple[int, int, int, int], form: str = "JPEG") -> io.BytesIO:
    page, file = Image.new("RGB", (width, height), "white"), io.BytesIO()
    ImageDraw.Draw(page).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="black")
    page.save(file, form, quality=95)
    file.seek(0)
    return file


@pytest.mark.parametrize("size", [(3301, 4599), (3300, 4600), (2403, 1807), (1283, 1281)])
def test_a_reduced_decode_is_exact_to_a_pixel(size: tuple[int, int]) -> None:
    width, height = size
    box = (width // 9, height // 7, width - 3, height - 5)
    pixels, (reduced_width, reduced_height) = decode_image(draw(*size, box), 640)
    assert 640 <= max(pixels.shape) < 1280 + 4
    found = EdgeFinder()(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255)[0, :4, 0].tolist()
    x, y, w, h = found[0] * width / reduced_width, found[1] * height / reduced_height, found[2], found[3]
    w, h = w * width / reduced_width, h * height / reduced_height
    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    assert max(abs(a - b) for a, b in zip(corners, box, strict=True)) <= 1


@pytest.mark.parametrize(("form", "least"), [("PNG", 100), ("JPEG", 700), ("JPEG", 5000), ("JPEG", None)])
def test_png_and_small_jpeg_files_are_decoded_at_full_size(form: str, least: int | None) -> None:
    pixels, size = decode_image(draw(600, 800, (1, 1, 9, 9), form), least)
    assert (pixels.shape, tuple(size)) == ((800, 600, 3), (600, 800))


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_pixels_are_rgb_for_every_colour_mode(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (2000, 3000)).save(file, "JPEG")
    assert decode_image(file, 300)[0].shape[2] == 3


@pytest.mark.parametrize(("mode", "form"), [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16", "JPEG2000"), ("F", "TIFF")])
def test_an_image_of_more_than_8_bits_a_pixel_is_not_blank(mode: str, form: str) -> None:
    values = np.full((80, 60), 60_000, dtype=np.uint16)
    values[20:40, 10:50] = 5_000
    page, file = Image.fromarray(values), io.BytesIO()
    (page.convert("F") if mode == "F" else page).save(file, form)
    file.seek(0)
    pixels, _ = decode_image(file, 640)
    assert pixels[:10].min() > 200
    assert pixels[25:35, 20:40].max() < 60


@pytest.mark.parametrize("size", [(1, 2000), (2000, 1)])
def test_a_line_of_pixels_is_decoded(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG")
    assert min(decode_image(file, 40)[0].shape[:2]) == 1
