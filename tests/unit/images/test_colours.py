"""Colours of image files in RGB; transparent parts are white."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, TiffImagePlugin

from app.images.pixels import decode_image

SIZE = (60, 40)
INK, PAPER = (10, 20), (50, 20)  # points in the rectangle, and outside it
CLEAR = (0, 0, 0, 0)


def draw_line_art(colour: tuple[int, int, int, int] = (0, 0, 0, 255)) -> Image.Image:
    """Return a drawing on a transparent ground, which is black where it is not seen, as drawing programs save it."""
    image = Image.new("RGBA", SIZE, CLEAR)
    ImageDraw.Draw(image).rectangle((5, 5, 25, 35), fill=colour)
    return image


def save(image: Image.Image, form: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def decode(file: io.BytesIO) -> NDArray[np.int64]:
    pixels, size = decode_image(file, None)
    assert pixels.shape == (size[1], size[0], 3)
    return pixels.astype(int)


def read_points(file: io.BytesIO) -> tuple[list[int], list[int]]:
    """Return the colours in the drawn rectangle and outside it."""
    pixels = decode(file)
    return pixels[INK[1], INK[0]].tolist(), pixels[PAPER[1], PAPER[0]].tolist()


def build_png(depth: int, kind: int, rows: Sequence[bytes], width: int, **chunks: bytes) -> io.BytesIO:
    """Build a PNG file (https://www.w3.org/TR/png-3/#11IHDR) with any depth and colour type."""

    def pack(name: str, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name.encode() + data + struct.pack(">I", zlib.crc32(name.encode() + data))

    head = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [("IHDR", head), *chunks.items(), ("IDAT", body), ("IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(pack(*part) for part in parts))


def palette_with_opacities() -> io.BytesIO:
    image = draw_line_art().convert("L").point(lambda value: 0)  # every index but that of the ground is black
    image.paste(1, (0, 0, *SIZE), draw_line_art().getchannel("A").point(lambda value: 255 - value))
    image = Image.frombytes("P", SIZE, image.tobytes())
    image.putpalette([0] * 768)
    return save(image, "PNG", transparency=b"\xff\x00")


def colour_as_transparency(mode: str, colour: Any) -> Callable[[], io.BytesIO]:
    def build() -> io.BytesIO:
        image = Image.new("RGB", SIZE, (80, 80, 80))
        image.paste("black", (5, 5, 26, 36))
        image = image.convert(mode) if mode != "1" else image.convert("L").point(lambda v: 255 * (v > 40), mode="1")
        return save(image, "PNG", transparency=colour)

    return build


def palette_with_alpha() -> io.BytesIO:
    alpha = draw_line_art().getchannel("A").tobytes()
    image = Image.frombytes("PA", SIZE, bytes(byte for opacity in alpha for byte in (0, opacity)))
    image.putpalette([0] * 768)
    return save(image, "TIFF")


def associate(image: Image.Image) -> io.BytesIO:
    """Save a TIFF file whose alpha is declared as associated: the colours are multiplied with it."""
    content = save(image, "TIFF").getvalue()
    unassociated, associated = (struct.pack("<HHIH", TiffImagePlugin.EXTRASAMPLES, 3, 1, kind) for kind in (2, 1))
    assert content.count(unassociated) == 1
    return io.BytesIO(content.replace(unassociated, associated))


TRANSPARENT: dict[str, Callable[[], io.BytesIO]] = {
    "RGBA PNG": lambda: save(draw_line_art(), "PNG"),
    "LA PNG": lambda: save(draw_line_art().convert("LA"), "PNG"),
    "P PNG with a colour": lambda: save(draw_line_art().convert("P"), "PNG", transparency=0),
    "P PNG with opacities": palette_with_opacities,
    "L PNG with a colour": colour_as_transparency("L", 80),
    "RGB PNG with a colour": colour_as_transparency("RGB", (80, 80, 80)),
    "1-bit PNG with a colour": colour_as_transparency("1", 1),
    "GIF": lambda: save(draw_line_art((1, 1, 1, 255)), "GIF"),
    "WebP": lambda: save(draw_line_art(), "WEBP", lossless=True, exact=True),
    "JPEG2000": lambda: save(draw_line_art(), "JPEG2000"),
    "LA JPEG2000": lambda: save(draw_line_art().convert("LA"), "JPEG2000"),
    "AVIF": lambda: save(draw_line_art(), "AVIF", quality=100),
    "TIFF": lambda: save(draw_line_art(), "TIFF"),
    "compressed TIFF": lambda: save(draw_line_art(), "TIFF", compression="tiff_lzw"),
    "LA TIFF": lambda: save(draw_line_art().convert("LA"), "TIFF"),
    "PA TIFF": palette_with_alpha,
    "TIFF with associated alpha": lambda: associate(draw_line_art()),
    "LA TIFF with associated alpha": lambda: associate(draw_line_art().convert("LA")),
    "animated PNG": lambda: save(draw_line_art(), "PNG", save_all=True, append_images=[Image.new("RGBA", SIZE, "red")]),
    "animated WebP": lambda: save(
        draw_line_art(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGBA", SIZE, "red")]
    ),
    "animated GIF": lambda: save(
        draw_line_art((1, 1, 1, 255)), "GIF", save_all=True, append_images=[Image.new("RGBA", SIZE, "red")]
    ),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_a_drawing_on_a_transparent_ground_lies_on_white(kind: str) -> None:
    ink, paper = read_points(TRANSPARENT[kind]())
    assert max(ink) <= 4
    assert paper == [255, 255, 255]


def test_a_half_transparent_colour_is_mixed_with_white() -> None:
    for form in ("PNG", "TIFF"):
        ink, _ = read_points(save(draw_line_art((200, 100, 0, 128)), form))
        assert ink == pytest.approx([227, 177, 127], abs=1)


def test_premultiplied_colours_are_not_darkened() -> None:
    for mode, colour in (("LA", (100, 128)), ("RGBA", (100, 100, 100, 128))):  # 100 is 199 x 128 / 255
        pixels = decode(associate(Image.new(mode, SIZE, colour)))
        assert pixels[5, 5].tolist() == pytest.approx([227, 227, 227], abs=2)


@pytest.mark.parametrize(
    ("depth", "kind", "row", "transparent", "expected"),
    [
        (1, 0, b"\x50", b"\0\1", [0, 255, 0, 255]),
        (1, 0, b"\x50", b"\0\0", [255, 255, 255, 255]),
        (2, 0, b"\x1b", b"\0\1", [0, 255, 170, 255]),
        (4, 0, b"\x01\x2f", b"\0\2", [0, 17, 255, 255]),
        (8, 0, b"\x00\x01\x02\xff", b"\0\1", [0, 255, 2, 255]),
        (16, 0, struct.pack(">4H", 0, 300, 30000, 65535), struct.pack(">H", 300), [0, 255, 116, 255]),
        (16, 2, struct.pack(">6H", 0, 0, 0, 1000, 1000, 1000), struct.pack(">3H", 1000, 1000, 1000), [0, 255]),
    ],
)
def test_a_transparent_colour_is_found_at_every_depth(
    depth: int, kind: int, row: bytes, transparent: bytes, expected: list[int]
) -> None:
    pixels = decode(build_png(depth, kind, [row], len(expected), tRNS=transparent))
    assert pixels[0, :, 0].tolist() == expected


@pytest.mark.parametrize(("kind", "samples"), [(4, 1), (6, 3)])
def test_16_bit_samples_with_alpha_lie_on_white(kind: int, samples: int) -> None:
    dark, clear = (0,) * samples + (65535,), (0,) * samples + (0,)
    row = struct.pack(f">{2 * (samples + 1)}H", *dark, *clear)
    assert decode(build_png(16, kind, [row], 2))[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_a_gif_is_white_outside_its_first_frame() -> None:
    frame = Image.new("P", (10, 10), 1)
    frame.putpalette([0, 0, 0, 200, 0, 0])
    data = bytearray(save(frame, "GIF", optimize=False).getvalue())
    data[6:10] = struct.pack("<2H", 60, 40)  # size of the image
    at = data.index(b",") + 1
    data[at : at + 4] = struct.pack("<2H", 5, 15)  # corner of the frame
    pixels = decode(io.BytesIO(data))
    assert pixels.shape == (40, 60, 3)
    assert (pixels[15:25, 5:15] == (200, 0, 0)).all()
    assert (pixels == (255, 255, 255)).all(axis=2).sum() == 60 * 40 - 10 * 10


def test_opaque_images_keep_their_pixels() -> None:
    random = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(random)
    for mode in ("RGB", "RGBA"):
        assert (decode(save(image.convert(mode), "PNG")) == random).all()


# Colours


def draw_colours() -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(image).rectangle((0, 0, 29, 39), fill=(200, 60, 20))
    return image


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("CMYK", "JPEG", {"quality": 100}),
        ("CMYK", "TIFF", {}),
        ("CMYK", "JPEG2000", {}),
        ("YCbCr", "JPEG", {"quality": 100}),
        ("YCbCr", "TIFF", {}),
        ("LAB", "TIFF", {}),
        ("P", "PNG", {}),
        ("P", "TIFF", {}),
        ("P", "BMP", {}),
        ("P", "GIF", {}),
        ("RGBX", "TIFF", {}),
        ("RGB", "PPM", {}),
        ("RGB", "JPEG2000", {}),
        ("RGB", "AVIF", {"quality": 100}),
        ("RGB", "MPO", {"quality": 100}),
    ],
)
def test_colours_are_right_in_every_mode(mode: str, form: str, options: dict[str, Any]) -> None:
    image = draw_colours().quantize(8) if mode == "P" else draw_colours().convert(mode)
    ink, paper = read_points(save(image, form, **options))
    assert ink == pytest.approx([200, 60, 20], abs=6)
    assert paper == pytest.approx([255, 255, 255], abs=4)


@pytest.mark.parametrize(("mode", "form"), [("1", "TIFF"), ("1", "PNG"), ("1", "PPM"), ("1", "GIF"), ("L", "PPM")])
def test_black_stays_black_and_white_white(mode: str, form: str) -> None:
    image = Image.new("L", SIZE, 255)
    image.paste(0, (5, 5, 26, 36))
    assert read_points(save(image.convert(mode), form)) == ([0, 0, 0], [255, 255, 255])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32])
def test_white_may_be_zero_in_a_tiff_file(dtype: type) -> None:
    """PhotometricInterpretation 0: https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml."""
    most = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    inverted = dtype in (np.uint16, np.float32)  # Pillow inverts the others when it saves
    values = np.full((40, 60), 0 if inverted else most, dtype=dtype)
    values[5:36, 5:26] = most if inverted else 0
    file = save(Image.fromarray(values), "TIFF", tiffinfo={TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 0})
    assert read_points(file) == ([0, 0, 0], [255, 255, 255])


def test_missing_values_of_a_float_image_are_black() -> None:
    values = np.full((40, 60), 0.5, dtype=np.float32)
    values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, -np.inf
    pixels = decode(save(Image.fromarray(values), "TIFF"))
    assert [pixels[n, n, 0] for n in range(4)] == [0, 0, 0, 255]
