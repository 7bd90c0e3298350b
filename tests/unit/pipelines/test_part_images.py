import io
from typing import Any, cast

import pytest
from PIL import Image

from app.detection.parts import choose_grid
from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.images import FetchedImage
from app.pipelines.part_images import fetch_for_parts

URL = "https://library.example/scroll.jpg"


class Server:
    """Returns images of one full size, up to a longer side.

    Attributes:
        asked: Longer sides of the requests.
    """

    def __init__(self, full: tuple[int, int], largest: int = 10**9, error: FetchError | None = None) -> None:
        self.asked: list[int] = []
        self._full, self._largest, self._error = full, largest, error

    def fetch(self, longest: int) -> FetchedImage:
        self.asked.append(longest)
        if longest > self._largest and self._error:
            raise self._error
        factor = min(longest, self._largest, max(self._full)) / max(self._full)
        content = io.BytesIO()
        Image.new("L", tuple(max(1, round(side * factor)) for side in self._full)).save(content, "PNG")
        return FetchedImage(content.getvalue(), *self._full)


def request(server: Server, stated: tuple[Any, Any]) -> FetchedImage:
    return fetch_for_parts(
        server.fetch, cast(Fetcher, None), CanvasImage(URL, *stated, None), 800, choose_grid, cast(Any, None)
    )


@pytest.mark.parametrize(
    ("full", "stated", "asked"),
    [
        ((1500, 45000), (1500, 45000), [19467]),
        ((1500, 45000), (None, None), [800, 19467]),
        ((1500, 45000), (3000, 90000), [19467]),
        ((1500, 45000), (1500, 2000), [800, 19467]),  # the manifest is wrong
        ((1500, 2000), (1500, 2000), [800]),
        ((1500, 2000), (None, None), [800]),
        ((100, 600), (None, None), [800]),  # complete already
    ],
)
def test_an_image_is_requested_in_the_size_that_its_parts_need(
    full: tuple[int, int], stated: tuple[Any, Any], asked: list[int]
) -> None:
    server = Server(full)
    request(server, stated)
    assert server.asked == asked


@pytest.mark.parametrize("error", [FetchError("403", 403), FetchError("500", 500, temporary=True)])
def test_a_reduced_image_replaces_a_refused_one(error: FetchError) -> None:
    server = Server((3000, 30000), 5000, error)
    with Image.open(io.BytesIO(request(server, (3000, 30000)).data)) as image:
        assert image.size == (80, 800)
    assert server.asked == [6667, 800]


def test_a_temporary_error_is_not_a_refusal() -> None:
    with pytest.raises(FetchError, match="503"):
        request(Server((1500, 45000), 5000, FetchError("503", 503, temporary=True)), (1500, 45000))


def test_a_strip_is_not_taken_for_a_page() -> None:
    with pytest.raises(FetchError, match=r"returns only 27 x 800 of 1500 x 45000 pixels"):
        request(Server((1500, 45000), 800), (1500, 45000))
