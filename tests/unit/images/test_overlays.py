import pytest
from PIL import Image

from app.images.overlays import FOUND, TRUE, DrawnBox, draw_comparison


def test_true_and_detected_boxes_are_drawn_in_their_colours() -> None:
    page = Image.new("RGB", (600, 800), "white")
    drawn = draw_comparison(page, [DrawnBox((100, 100, 200, 200))], [DrawnBox((300, 400, 500, 600), "0.87")], 0.25)
    assert drawn.getpixel((100, 150)) == TRUE
    assert drawn.getpixel((300, 500)) == FOUND
    assert drawn.getpixel((150, 150)) == drawn.getpixel((400, 500)) == (255, 255, 255)
    assert page.getpixel((100, 150)) == (255, 255, 255)


def test_both_colours_are_visible_where_boxes_coincide() -> None:
    page, box = Image.new("RGB", (600, 800), "white"), DrawnBox((100, 100, 400, 400))
    colours = {colour for _, colour in draw_comparison(page, [box], [box], 0.25).crop((0, 0, 600, 790)).getcolors()}
    assert {TRUE, FOUND} <= colours


def test_a_label_at_the_edge_stays_on_the_page() -> None:
    page = Image.new("RGB", (600, 800), "white")
    plain = draw_comparison(page, [], [DrawnBox((590, 0, 600, 10))], 0.25)
    labelled = draw_comparison(page, [], [DrawnBox((590, 0, 600, 10), "ornament 0.87")], 0.25)
    assert plain.crop((400, 0, 580, 40)).getcolors() == [(180 * 40, (255, 255, 255))]
    assert len(labelled.crop((400, 0, 580, 40)).getcolors() or []) > 2


@pytest.mark.parametrize("size", [(600, 800), (60, 2000), (3, 3)])
def test_the_legend_fits_pages_of_any_shape(size: tuple[int, int]) -> None:
    page = Image.new("RGB", size, "black")
    drawn = draw_comparison(page, [DrawnBox((0, 0, 2, 2))], [], 0.25)
    legend = drawn.crop((0, size[1], drawn.width, drawn.height))
    assert drawn.width >= 250
    assert {TRUE, FOUND} <= {colour for _, colour in legend.getcolors(100_000) or []}
    # Nothing is cut off at the right.
    assert legend.crop((legend.width - 5, 0, legend.width, legend.height)).getcolors() == [
        (5 * legend.height, (255, 255, 255))
    ]
