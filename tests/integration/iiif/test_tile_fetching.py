"""Pages of static services (level 0), which have tiles and no other sizes."""

import io
import math
from collections.abc import Callable

import pytest
from PIL import Image

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageService
from app.iiif.images import FetchedImage, fetch_canvas_image, fetch_info
from app.iiif.known_servers import KnownServers
from app.iiif.stated_sizes import StatedSizes
from tests.support.fetching import Clock
from tests.support.library import Answer, Library, Scan, draw_image
from tests.support.pyramid import BOX, Pyramid, find_box


def fetch(
    fetcher: Fetcher, base: str, longest: int | None, level: int = 0, servers: KnownServers | None = None
) -> FetchedImage:
    service = ImageService(base, 2, level)
    return fetch_canvas_image(fetcher, CanvasImage("", None, None, service), longest, servers=servers)


def check_page(fetched: FetchedImage, pyramid: Pyramid, factor: int) -> None:
    """Check the size of a page, and that the rectangle on it is where it is on the full size."""
    full = (pyramid.width, pyramid.height)
    with Image.open(io.BytesIO(fetched.data)) as page:
        assert page.size == (math.ceil(full[0] / factor), math.ceil(full[1] / factor))
    assert (fetched.full_width, fetched.full_height) == full
    assert find_box(fetched.data, full) == pytest.approx(BOX, abs=1.01 * factor)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("longest", "factor"), [(None, 1), (600, 1), (500, 2), (300, 2), (250, 4), (10, 4)])
def test_the_next_larger_level_is_put_together(
    library: Library, fetcher: Fetcher, version: int, longest: int | None, factor: int
) -> None:
    pyramid = Pyramid(version=version)
    check_page(fetch(fetcher, pyramid.serve(library), longest), pyramid, factor)


@pytest.mark.parametrize("size", [(801, 1003), (1025, 700), (257, 1401), (513, 514), (9, 900), (1030, 2)])
@pytest.mark.parametrize("rounded", [math.ceil, math.floor, lambda value: math.floor(value + 0.5)])
@pytest.mark.parametrize("version", [2, 3])
def test_every_rounding_at_the_edges_is_found(
    library: Library, fetcher: Fetcher, size: tuple[int, int], rounded: Callable[[float], int], version: int
) -> None:
    pyramid = Pyramid(*size, version=version, rounded=rounded, factors=(4, 8))
    fetched = fetch(fetcher, pyramid.serve(library), max(size) // 4)
    with Image.open(io.BytesIO(fetched.data)) as page:
        assert abs(page.width - size[0] / 4) <= 1
        assert abs(page.height - size[1] / 4) <= 1
    left, top, right, bottom = find_box(fetched.data, size)
    assert (left, top) == pytest.approx(BOX[:2], abs=5) or min(size) < BOX[0]
    assert (right, bottom) == pytest.approx((min(BOX[2], size[0]), min(BOX[3], size[1])), abs=5) or min(size) < BOX[0]


@pytest.mark.parametrize("other", [{"version": 3}, {"version": 2}])
def test_the_form_that_a_server_has_is_remembered(library: Library, fetcher: Fetcher, other: dict[str, int]) -> None:
    # The forms of the files contradict the version that info.json states.
    pyramid = Pyramid(**other)
    info = Pyramid(version=5 - other["version"]).build_info(f"{library.url}/tiles/p")
    for name in ("p", "q"):
        pyramid.serve(library, name)
        library.answer(f"/tiles/{name}/info.json", Answer(body=info))
    servers = KnownServers()
    fetch(fetcher, f"{library.url}/tiles/p", 500, servers=servers)
    assert len(library.paths) == 1 + 1 + 4
    library.asked.clear()
    fetch(fetcher, f"{library.url}/tiles/q", 500, servers=servers)
    assert len(library.paths) == 1 + 4


def test_a_missing_tile_fails_the_page_with_a_sentence(library: Library, fetcher: Fetcher) -> None:
    pyramid = Pyramid(sizes=((80, 100),))
    base = pyramid.serve(library)
    library.answer("/tiles/p/512,512,288,488/144,/0/default.jpg", Answer(404))
    with pytest.raises(FetchError, match=r"A tile of .*/tiles/p is missing: .*512,512,288,488/144,/.* answered 404"):
        fetch(fetcher, base, 500)


@pytest.mark.parametrize(
    "answer", [Answer(body="<html>not found</html>"), Answer(503), Answer(body=b"\xff\xd8\xff cut off")]
)
def test_a_tile_that_is_no_image_fails_the_page(library: Library, fetcher: Fetcher, answer: Answer) -> None:
    base = Pyramid(has_whole=False).serve(library)
    library.answer("/tiles/p/512,512,288,488/144,/0/default.jpg", answer)
    with pytest.raises(FetchError, match="512,512,288,488/144,"):
        fetch(fetcher, base, 500)


def test_the_next_form_follows_a_web_page(library: Library, fetcher: Fetcher) -> None:
    pyramid = Pyramid(version=3)
    base = pyramid.serve(library)
    library.answer("/tiles/p/info.json", Answer(body=Pyramid(version=2).build_info(base)))
    for box in ("0,0,512,512", "0,512,512,488"):
        library.answer(f"/tiles/p/{box}/256,/0/default.jpg", Answer(body="<html>home</html>"))
    check_page(fetch(fetcher, base, 500), pyramid, 2)


def test_a_tile_of_another_size_fails_the_page(library: Library, fetcher: Fetcher) -> None:
    base = Pyramid().serve(library)
    wrong = Pyramid(512, 512, factors=(1,), tile=512).draw()["full/512,/0/default.jpg"]
    library.answer("/tiles/p/0,0,512,512/256,/0/default.jpg", Answer(body=wrong))
    with pytest.raises(FetchError, match="has 512 x 512 pixels instead of 256 x 256"):
        fetch(fetcher, base, 500)


@pytest.mark.parametrize(
    ("longest", "expected"), [(500, "/full/440,/0/default.jpg"), (400, "/full/440,/0/default.jpg"), (100, "/full/80,")]
)
def test_a_listed_size_is_used_if_it_is_nearest(
    library: Library, fetcher: Fetcher, longest: int, expected: str
) -> None:
    pyramid = Pyramid(sizes=((80, 100), (440, 550)), factors=(1,))
    fetch(fetcher, pyramid.serve(library), longest)
    assert len(library.paths) == 2
    assert expected in library.paths[-1]


def test_tiles_are_used_if_only_thumbnails_are_listed(library: Library, fetcher: Fetcher) -> None:
    pyramid = Pyramid(sizes=((80, 100), (160, 200)))
    check_page(fetch(fetcher, pyramid.serve(library), 500), pyramid, 2)


OWN, WHOLE, LISTED = "/files/p.jpg", "/tiles/p/full/full/0/default.jpg", "/tiles/p/full/400,/0/default.jpg"


@pytest.mark.parametrize(
    ("path", "size", "full"),
    [
        (OWN, (400, 500), (800, 1000)),
        (OWN, (1000, 800), (1000, 800)),
        (WHOLE, (1000, 800), (1000, 800)),
        (WHOLE, (800, 1000), (800, 1000)),
        (OWN, (500, 500), None),
        (WHOLE, (500, 500), None),
        (LISTED, (500, 500), None),
    ],
)
def test_one_file_counts_only_with_the_proportions_of_the_page(
    library: Library, fetcher: Fetcher, path: str, size: tuple[int, int], full: tuple[int, int] | None
) -> None:
    """A static service whose ``info.json`` states exchanged sides, or whose file is a placeholder."""
    info = Pyramid(sizes=((400, 500),) if path == LISTED else ()).build_info("")
    library.answer("/tiles/p/info.json", Answer(body=info))
    url = library.answer(path, Answer(body=draw_image(*size)))
    image = CanvasImage(url, 800, 1000, ImageService(f"{library.url}/tiles/p", 2, 0))
    if full is None:
        with pytest.raises(FetchError):
            fetch_canvas_image(fetcher, image, 500)
    else:
        fetched = fetch_canvas_image(fetcher, image, 500)
        assert (fetched.full_width, fetched.full_height) == full


def test_tiles_follow_a_file_of_other_proportions(library: Library, fetcher: Fetcher) -> None:
    pyramid = Pyramid(sizes=((400, 500),))
    base = pyramid.serve(library)
    library.answer(LISTED, Answer(body=draw_image(500, 500)))
    check_page(fetch(fetcher, base, 500), pyramid, 2)


def test_the_full_size_is_one_file_if_the_server_has_it(library: Library, fetcher: Fetcher) -> None:
    pyramid = Pyramid(has_whole=True)
    check_page(fetch(fetcher, pyramid.serve(library), None), pyramid, 1)
    assert library.paths == ["/tiles/p/info.json", "/tiles/p/full/full/0/default.jpg"]


def test_a_pyramid_of_one_tile_is_one_request(library: Library, fetcher: Fetcher) -> None:
    for number, names_full in enumerate((True, False)):
        pyramid = Pyramid(500, 700, tile=1024, factors=(1,), names_full=names_full)
        fetched = fetch(fetcher, pyramid.serve(library, str(number)), 300)
        check_page(fetched, pyramid, 1)
        assert fetched.data in pyramid.draw().values()


def test_several_sets_of_tiles_are_combined(library: Library, fetcher: Fetcher) -> None:
    fine, coarse = Pyramid(factors=(1,), tile_height=128), Pyramid(factors=(2, 4), tile=512)
    tiles = [*fine.build_info("")["tiles"], *coarse.build_info("")["tiles"]]
    fine.serve(library)
    library.answer("/tiles/p/info.json", Answer(body=coarse.build_info("") | {"tiles": tiles}))
    for path, content in coarse.draw().items():
        library.answer(f"/tiles/p/{path}", Answer(body=content))
    check_page(fetch(fetcher, f"{library.url}/tiles/p", 1000), fine, 1)
    check_page(fetch(fetcher, f"{library.url}/tiles/p", 500), coarse, 2)


@pytest.mark.parametrize("extension", ["png", "webp"])
@pytest.mark.parametrize("version", [2, 3])
def test_tiles_of_other_formats_are_fetched(library: Library, fetcher: Fetcher, extension: str, version: int) -> None:
    pyramid = Pyramid(extension=extension, version=version)
    check_page(fetch(fetcher, pyramid.serve(library), 500), pyramid, 2)


def test_tiles_replace_a_level_that_the_server_only_states(library: Library, fetcher: Fetcher) -> None:
    pyramid = Pyramid(more={"profile": "http://iiif.io/api/image/2/level2.json"})
    check_page(fetch(fetcher, pyramid.serve(library), 500, level=2), pyramid, 2)


@pytest.mark.parametrize(("status", "most"), [(403, 8), (404, 14)])
def test_a_server_that_refuses_every_image_is_not_asked_for_each_tile(
    library: Library, fetcher: Fetcher, status: int, most: int
) -> None:
    base = library.offer(Scan(4000, 6000, level=2, forms=(), refusal=status, more={"tiles": [{"width": 256}]}))
    with pytest.raises(FetchError, match=f"/full/.* answered {status}"):
        fetch(fetcher, base, 500, level=2)
    assert len(library.paths) <= most


def test_limits_hold_for_all_tiles_of_a_page_together(library: Library, make_fetcher: Callable[..., Fetcher]) -> None:
    base = Pyramid().serve(library)
    with pytest.raises(FetchError, match=r"larger than 0\.002 MB in total"):
        fetch(make_fetcher(max_image_bytes=2000), base, 500)
    tiny = Pyramid(2000, 2000, more={"tiles": [{"width": 1, "scaleFactors": [1, 2, 4, 8]}]})
    library.answer("/tiles/p/info.json", Answer(body=tiny.build_info(base)))
    library.asked.clear()
    with pytest.raises(FetchError, match="more than 1024 tiles"):
        fetch(make_fetcher(), base, 500)
    assert len(library.paths) <= 3


def test_tiles_count_as_requests_to_their_host(library: Library, fetcher: Fetcher, clock: Clock) -> None:
    pyramid, path = Pyramid(), "512,512,288,488/144,/0/default.jpg"
    base = pyramid.serve(library)
    busy, tile = Answer(429, headers={"Retry-After": "7"}), Answer(body=pyramid.draw()[path])
    library.answer(f"/tiles/p/{path}", busy, tile)
    check_page(fetch(fetcher, base, 500), pyramid, 2)
    assert sum(clock.slept) == pytest.approx(7, abs=0.1)


def test_each_page_with_tiles_gets_its_own_info_json(library: Library, fetcher: Fetcher) -> None:
    images = []
    for number in range(6):
        base = Pyramid(700 + 50 * number, 900).serve(library, str(number))
        images.append(CanvasImage("", 700 + 50 * number, 900, ImageService(base, 2, 0)))

    servers = KnownServers()
    sizes = StatedSizes(images, lambda service: fetch_info(fetcher, service, servers.find(service)))
    for number, image in enumerate(images):
        fetched = fetch_canvas_image(fetcher, image, 450, sizes, servers)
        check_page(fetched, Pyramid(700 + 50 * number, 900), 2)
    documents = [path for path in library.paths if path.endswith("info.json")]
    assert len(documents) == len(set(documents)) == len(images)


def test_the_next_larger_level_replaces_a_level_that_is_missing(library: Library, fetcher: Fetcher) -> None:
    written = Pyramid(factors=(1, 4))
    info = Pyramid().build_info("")
    base = written.serve(library)
    library.answer("/tiles/p/info.json", Answer(body=info))
    check_page(fetch(fetcher, base, 500), written, 1)
