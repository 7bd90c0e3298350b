import io
import json

import pytest
from PIL import Image

from app.errors import FetchError, NotAnImage
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.hosts import HostRule
from app.iiif.images import FetchedImage, fetch_canvas_image
from app.iiif.manifest import parse_manifest
from app.net.addresses import AddressGuard
from tests.support.fetching import POLICY, Clock, build_limits
from tests.support.library import Answer, Library, Scan, build_manifest_2, build_manifest_3, draw_image

SCAN = Scan(1200, 1600)


def find_image(library: Library, scan: Scan, version: int = 3, sizes: bool = True) -> CanvasImage:
    """Serve a scan and return it as a manifest names it, with or without the size."""
    library.offer(scan)
    document = (build_manifest_2 if version == 2 else build_manifest_3)(library.url, [scan])
    text = json.dumps(document)
    if not sizes:
        text = text.replace('"width"', '"w"').replace('"height"', '"h"')
    image = parse_manifest(text.encode(), f"{library.url}/manifest.json").canvases[0].image
    assert image is not None
    return image


def size_of(fetched: FetchedImage) -> tuple[int, int]:
    with Image.open(io.BytesIO(fetched.data)) as image:
        return image.size


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("presentation", [2, 3])
def test_a_reduced_size_is_asked_and_the_full_size_is_known(
    library: Library, fetcher: Fetcher, version: int, presentation: int
) -> None:
    image = find_image(library, Scan(1200, 1600, version=version), presentation)
    fetched = fetch_canvas_image(fetcher, image, 800)
    quality = "native" if version == 1 else "default"
    assert library.paths == ["/iiif/1/info.json", f"/iiif/1/full/600,/0/{quality}.jpg"]
    assert size_of(fetched) == (600, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_full_size_is_asked_when_it_is_wanted(library: Library, fetcher: Fetcher, version: int) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(version=version)), None)
    assert size_of(fetched) == (1200, 1600)
    assert f"/full/{'max' if version == 3 else 'full'}/0/" in library.paths[-1]


def test_the_full_size_is_info_jsons_and_not_the_manifests(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.offer(Scan(2400, 3200))
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert (fetched.full_width, fetched.full_height) == (2400, 3200)


def test_reduced_size_is_asked_when_full_is_refused(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(forms=("w,",)))
    assert size_of(fetch_canvas_image(fetcher, image, None)) == (1200, 1600)
    assert library.paths[1:] == ["/iiif/1/full/full/0/default.jpg", "/iiif/1/full/1200,/0/default.jpg"]


@pytest.mark.parametrize("forms", [("w,h",), ("full",)])
def test_the_next_form_is_asked_when_one_is_refused(library: Library, fetcher: Fetcher, forms: tuple[str, ...]) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(forms=forms)), 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    assert size_of(fetched) == ((600, 800) if forms == ("w,h",) else (1200, 1600))


@pytest.mark.parametrize("status", [403, 404])
def test_a_page_that_is_refused_is_asked_once_in_each_form(library: Library, fetcher: Fetcher, status: int) -> None:
    image = find_image(library, SCAN)
    for size in ("600,", "600,800", "full"):
        library.answer(f"/iiif/1/full/{size}/0/default.jpg", Answer(status))
    with pytest.raises(FetchError, match=f"answered {status}") as caught:
        fetch_canvas_image(fetcher, image, 800)
    assert caught.value.http_status == status
    assert len(library.paths) == len(set(library.paths)) == 4


def test_a_server_that_is_down_is_not_asked_in_other_forms(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/full/600,/0/default.jpg", Answer(503))
    with pytest.raises(FetchError, match="answered 503"):
        fetch_canvas_image(fetcher, image, 800)
    assert set(library.paths[1:]) == {"/iiif/1/full/600,/0/default.jpg"}


@pytest.mark.parametrize("version", [2, 3])
def test_level_0_is_asked_for_a_size_that_it_lists(library: Library, fetcher: Fetcher, version: int) -> None:
    scan = Scan(version=version, level=0, sizes=((300, 400), (600, 800), (900, 1200)))
    assert size_of(fetch_canvas_image(fetcher, find_image(library, scan), 700)) == (600, 800)
    assert len(library.paths) == 2


def test_a_limit_of_the_server_is_kept(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(version=3, more={"maxWidth": 450}))
    assert size_of(fetch_canvas_image(fetcher, image, None)) == (337, 449)


def test_the_manifests_size_is_taken_when_info_json_is_missing(library: Library, fetcher: Fetcher) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(info=False)), 800)
    assert size_of(fetched) == (600, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)


@pytest.mark.parametrize("body", ["<html>sign in</html>", "{}", '{"width": NaN, "height": 1}'])
def test_the_manifests_size_is_taken_when_info_json_is_garbage(library: Library, fetcher: Fetcher, body: str) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/info.json", Answer(body=body))
    assert size_of(fetch_canvas_image(fetcher, image, 800)) == (600, 800)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_image_without_any_known_size_is_asked_in_full_and_counted(
    library: Library, fetcher: Fetcher, version: int
) -> None:
    image = find_image(library, Scan(version=version, info=False), sizes=False)
    assert (image.width, image.height) == (None, None)
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert size_of(fetched) == (fetched.full_width, fetched.full_height) == (1200, 1600)


def test_the_images_own_address_is_asked_when_the_service_serves_nothing(library: Library, fetcher: Fetcher) -> None:
    service = find_image(library, Scan(info=False, forms=())).service
    url = library.answer("/scan.jpg", Answer(body=draw_image(300, 400)))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, None, None, service), 800)
    assert (f"{library.url}{library.paths[-1]}", fetched.full_width, fetched.full_height) == (url, 300, 400)


def test_a_reduced_image_is_never_counted_as_the_full_one(library: Library, fetcher: Fetcher) -> None:
    service = find_image(library, Scan(info=False, forms=("w,",))).service
    reduced = CanvasImage(f"{library.url}/iiif/1/full/300,/0/default.jpg", None, None, service)
    with pytest.raises(FetchError, match="answered 400"):
        fetch_canvas_image(fetcher, reduced, 800)


def test_the_address_that_answered_is_kept_whatever_name_info_json_gives(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(more={"@id": "http://localhost:8182/iiif/2/1"}))
    fetch_canvas_image(fetcher, image, 800)
    assert library.paths[-1] == "/iiif/1/full/600,/0/default.jpg"


@pytest.mark.parametrize("wanted", [None, 100])
def test_an_image_without_a_service_comes_as_it_is(library: Library, fetcher: Fetcher, wanted: int | None) -> None:
    url = library.answer("/scan.jpg", Answer(body=draw_image(300, 400)))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, 999, 999, None), wanted)
    assert (f"{library.url}{library.paths[-1]}", fetched.full_width, fetched.full_height) == (url, 300, 400)
    assert library.paths == ["/scan.jpg"]


def test_an_error_page_is_not_taken_for_an_image(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/full/600,/0/default.jpg", Answer(body="<html>too many requests</html>"))
    with pytest.raises(NotAnImage, match="HTML page"):
        fetch_canvas_image(fetcher, image, 800)


def test_the_next_form_is_asked_when_a_server_fails_at_one(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/full/600,/0/default.jpg", Answer(500))
    assert size_of(fetch_canvas_image(fetcher, image, 800)) == (600, 800)
    assert library.paths[1:] == ["/iiif/1/full/600,/0/default.jpg", "/iiif/1/full/600,800/0/default.jpg"]


def test_all_forms_together_get_no_more_attempts_than_one(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    for size in ("600,", "600,800", "full"):
        library.answer(f"/iiif/1/full/{size}/0/default.jpg", Answer(500))
    with pytest.raises(FetchError, match="answered 500") as caught:
        fetch_canvas_image(fetcher, image, 800)
    assert caught.value.temporary
    assert len(library.paths[1:]) == POLICY.attempts


@pytest.mark.parametrize("size", [(116_061, 9_000), (20_000, 20_000)])
@pytest.mark.parametrize("version", [2, 3])
def test_an_image_of_enormous_size_is_asked_for_reduced(
    library: Library, fetcher: Fetcher, size: tuple[int, int], version: int
) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(*size, version=version)), 1000)
    assert (fetched.full_width, fetched.full_height) == size
    assert 1000 <= max(size_of(fetched)) <= 1001
    assert len(library.paths) == 2


@pytest.mark.parametrize(
    "name", ["a%2Fb", "a%252Fb", "a+b", "a%20b", "ark:%2F12148%2Fbtv1b8", "%C3%A9t%C3%A9", "a:b,c;d=e"]
)
def test_the_id_of_a_service_goes_out_as_it_came_in(library: Library, fetcher: Fetcher, name: str) -> None:
    base = library.offer(SCAN, name)
    document = build_manifest_3(library.url, [SCAN])
    body = document["items"][0]["items"][0]["items"][0]["body"]
    body["service"] = [SCAN.build_service(base)]
    image = parse_manifest(json.dumps(document).encode(), library.url).canvases[0].image
    assert image is not None
    assert size_of(fetch_canvas_image(fetcher, image, 800)) == (600, 800)
    assert library.paths == [f"/iiif/{name}/info.json", f"/iiif/{name}/full/600,/0/default.jpg"]


def test_the_images_own_address_is_asked_when_every_form_is_refused(library: Library, fetcher: Fetcher) -> None:
    service = find_image(library, Scan(forms=())).service
    url = library.answer("/iiif/1/full/full/0/default.png", Answer(body=draw_image(1200, 1600, "PNG")))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, None, None, service), 800)
    assert (f"{library.url}{library.paths[-1]}", size_of(fetched)) == (url, (1200, 1600))


@pytest.fixture
def slow_library(library: Library, clock: Clock) -> Fetcher:
    """A fetcher that knows the library for one that gives larger images every 15 seconds only."""
    rule = HostRule(4, 0, image_size=1000, large_interval_seconds=15)
    return Fetcher(POLICY, build_limits(rule, clock), AddressGuard(frozenset({"127.0.0.1"})))


@pytest.mark.parametrize("sizes", [(), ((400, 602), (797, 1200))])
def test_the_size_that_a_host_gives_freely_is_not_passed(
    library: Library, slow_library: Fetcher, clock: Clock, sizes: tuple[tuple[int, int], ...]
) -> None:
    image = find_image(library, Scan(2000, 3011, sizes=sizes))
    for longest in (1000, 1000, 900):
        assert max(size_of(fetch_canvas_image(slow_library, image, longest))) <= 1000
    assert clock.slept == []


def test_the_full_image_is_asked_for_slowly_also_where_it_is_the_last_form(
    library: Library, slow_library: Fetcher, clock: Clock
) -> None:
    image = find_image(library, Scan(forms=("full",)))
    for _ in range(3):
        fetch_canvas_image(slow_library, image, 800)
    assert clock.slept == [15, 15]


def test_a_full_image_that_is_small_is_not_asked_for_slowly(
    library: Library, slow_library: Fetcher, clock: Clock
) -> None:
    image = find_image(library, Scan(600, 800))
    for _ in range(3):
        fetch_canvas_image(slow_library, image, None)
    assert clock.slept == []
