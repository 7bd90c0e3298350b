import random

import pytest

from app.errors import NotAnImage
from app.images.formats import IMAGE_FORMATS, check_image
from tests.support.library import draw_image


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (7, 7), (8, 8), (15, 9)])
def test_a_very_small_image_is_an_image(size: tuple[int, int]) -> None:
    assert check_image(draw_image(*size), "x", 1000) == size


@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_every_accepted_format_is_read(form: str) -> None:
    assert check_image(draw_image(60, 80, form), "x", 10_000) == (60, 80)


@pytest.mark.parametrize("form", ["GIF", "BMP", "PPM", "PDF", "ICO", "EPS"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(NotAnImage, match="unsupported format instead of an image"):
        check_image(draw_image(64, 64, form), "x", 10_000)


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
