import math
from collections.abc import Sequence

import pytest
from PIL import Image

from app.images.drawn_pairs import LabelledImage, Region, describe_transform, draw_pair

UNCHANGED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
YELLOW = (255, 200, 0)


def make(size: tuple[int, int], region: Region | None = None, labels: Sequence[str] = ("ms-1", "p 1")) -> LabelledImage:
    return LabelledImage(Image.new("RGB", size, "ivory"), size, labels, region)


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return sum(number for number, found in picture.getcolors(10**7) or [] if found == colour)


@pytest.mark.parametrize("colour", ["black", "white"])
def test_regions_and_lines_are_drawn_on_dark_and_light_scans(colour: str) -> None:
    scan = LabelledImage(Image.new("RGB", (300, 400), colour), (3000, 4000), ["ms-1", "p"], (300, 400, 2000, 3000))
    plain = draw_pair(make((300, 400)), make((300, 400)), None, "")
    picture = draw_pair(scan, scan, UNCHANGED, "Same block")
    assert picture.size == plain.size
    assert (count(plain, YELLOW), count(picture, YELLOW) > 1000) == (0, True)
    assert all(count(picture, line) > 100 for line in [(86, 180, 233), (255, 130, 60), (0, 200, 140)])


def test_lines_join_corresponding_points() -> None:
    region = (0, 0, 100, 100)
    turned = (0.0, -1.0, 100.0, 1.0, 0.0, 0.0)  # a quarter turn: the upper left corner becomes the upper right one
    picture = draw_pair(make((100, 100), region), make((100, 100), region), turned, "")
    pixels = picture.tobytes()
    blue = [at // 3 % picture.width for at in range(0, len(pixels), 3) if pixels[at : at + 3] == bytes((86, 180, 233))]
    assert min(blue) < 100
    assert max(blue) > picture.width - 100


def test_points_outside_the_second_image_are_not_joined() -> None:
    far = (1.0, 0.0, 10_000.0, 0.0, 1.0, 0.0)
    image = make((100, 100), (0, 0, 100, 100))
    assert count(draw_pair(image, image, far, ""), (86, 180, 233)) == 0


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000), (12, 9), (4000, 3000)])
def test_images_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    picture = draw_pair(make(size, (0, 0, *size)), make((300, 400), (0, 0, 300, 400)), UNCHANGED, "Same block")
    assert 500 < picture.width < 1800
    assert 300 < picture.height < 800


@pytest.mark.parametrize("name", ["x" * 5000, "a\nb\0c\u202e", "", "مخطوطة 寫本"])
def test_labels_of_any_text_fit(name: str) -> None:
    plain = draw_pair(make((300, 400)), make((300, 400)), None, "")
    assert draw_pair(make((300, 400), labels=[name, name]), make((300, 400)), None, name).size == plain.size


def turn(degrees: float, mirrored: bool = False) -> tuple[float, ...]:
    cosine, sine, side = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), -1 if mirrored else 1
    return (2 * side * cosine, -2 * sine, 5.0, 2 * side * sine, 2 * cosine, 7.0)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (turn(0), ""),
        (turn(9), ""),
        (turn(88), "turned by 90°"),
        (turn(-88), "turned by 90°"),
        (turn(181), "turned by 180°"),
        (turn(2, mirrored=True), "mirrored"),
        (turn(178, mirrored=True), "mirrored and turned by 180°"),
    ],
)
def test_turned_and_mirrored_prints_are_described(transform: Sequence[float], text: str) -> None:
    assert describe_transform(transform) == text
