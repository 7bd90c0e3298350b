"""A sample of ``info.json`` decides whether the image sizes in a manifest are used."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo
from app.iiif.stated_sizes import StatedSizes, choose_sample, find_move, predict_sizes


def make_image(name: int, host: str = "a.example", size: tuple[int, int] = (1200, 1600)) -> CanvasImage:
    base = f"https://{host}/{name}"
    return CanvasImage(f"{base}/full/full/0/default.jpg", *size, ImageService(base, 2, 1))


class Server:
    """Answers every request for an ``info.json`` with the same size, and records the requests."""

    def __init__(self, size: tuple[int, int] = (1200, 1600), error: FetchError | None = None) -> None:
        self.size, self.error = size, error
        self.requested: list[str] = []

    def fetch_info(self, service: ImageService) -> ImageInfo:
        self.requested.append(service.id)
        if self.error:
            raise self.error
        return ImageInfo(service, *self.size)


def test_after_the_sample_no_image_needs_its_info_json() -> None:
    server, images = Server(), [make_image(number) for number in range(100)]
    sizes = StatedSizes(images, server.fetch_info)
    found = [sizes.describe(image) for image in images]
    assert [info.service.id for info in found if info] == [image.base for image in images]
    assert len(server.requested) == 3


def test_threads_share_one_sample() -> None:
    server, images = Server(), [make_image(number) for number in range(100)]
    sizes = StatedSizes(images, server.fetch_info)
    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(sizes.describe, images))
    assert len(server.requested) == 3


def test_each_host_has_its_own_sample() -> None:
    server, hosts = Server(), [f"{number}.example" for number in range(20)]
    images = [make_image(number, host) for host in hosts for number in range(10)]
    sizes = StatedSizes(images, server.fetch_info)
    assert all(map(sizes.describe, images))
    assert len(server.requested) == 3 * len(hosts)


def test_an_image_on_several_canvases_is_sampled_once() -> None:
    server, placeholder = Server(), make_image(0)
    images = [placeholder, *(make_image(number) for number in range(1, 50)), *[placeholder] * 50]
    sizes = StatedSizes(images, server.fetch_info)
    assert all(map(sizes.describe, images))
    assert len(server.requested) == len({*server.requested}) == 3


@pytest.mark.parametrize(
    "server",
    [Server((1200, 1601)), Server(error=FetchError("down", 503, temporary=True))],
    ids=["another size", "temporary error"],
)
def test_a_sample_that_does_not_confirm_the_sizes_is_not_trusted(server: Server) -> None:
    images = [make_image(number) for number in range(100)]
    assert StatedSizes(images, server.fetch_info).describe(images[1]) is None


def test_sizes_are_used_if_no_image_has_an_info_json() -> None:
    images = [make_image(number) for number in range(100)]
    info = StatedSizes(images, Server(error=FetchError("gone", 404)).fetch_info).describe(images[1])
    assert info is not None
    assert (info.width, info.height) == (1200, 1600)


def test_distrust_returns_the_earlier_images_once() -> None:
    images = [make_image(number) for number in range(100)]
    sizes = StatedSizes(images, Server().fetch_info)
    sizes.describe(images[1])
    assert sizes.list_doubtful() == []
    sizes.describe(images[2])
    sizes.distrust(images[2])
    assert sizes.describe(images[3]) is None
    assert sizes.list_doubtful() == images[1:3]
    assert sizes.list_doubtful() == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 39, 120, 1000])
def test_the_sample_has_the_first_and_the_last_image(count: int) -> None:
    images = [make_image(number) for number in range(count)]
    sample = choose_sample(images)
    assert len({*sample}) == len(sample) == min(count, max(3, min(12, count // 40)))
    assert {*images[:1], *images[-1:]} <= {*sample}


@pytest.mark.parametrize(
    ("stated", "found", "move"),
    [
        ("http://a.example/iiif/1", "https://a.example/iiif/1", ("http", "https")),
        ("https://a.example/old/1", "https://b.example/iiif/1", ("https://a.example/old", "https://b.example/iiif")),
        ("https://a.example/1", "https://a.example/1", ("", "")),
        ("https://a.example/1", "https://a.example/1-small", ("https://a.example/1", "https://a.example/1-small")),
    ],
)
def test_a_move_of_a_server_is_the_start_that_differs(stated: str, found: str, move: tuple[str, str]) -> None:
    assert find_move(stated, found) == move


def test_listed_sizes_are_predicted_by_their_rounding() -> None:
    known = [ImageInfo(ImageService("https://a.example/1", 2, 1), 2007, 3001, ((250, 375), (501, 750)))]
    assert predict_sizes(known, (1999, 2999)) == ((249, 374), (499, 749))


def test_an_image_of_one_pixel_has_listed_sizes_of_one_pixel() -> None:
    known = [ImageInfo(ImageService("https://a.example/1", 2, 1), 2000, 3000, ((250, 375), (500, 750)))]
    assert predict_sizes(known, (1, 1)) == ((1, 1), (1, 1))


def test_a_very_long_list_of_sizes_follows_no_rule() -> None:
    known = [ImageInfo(ImageService("https://a.example/1", 2, 1), 2000, 3000, ((250, 375),) * 100_000)]
    assert all(predict_sizes(known, (1000 + number, 2000)) == () for number in range(1000))
