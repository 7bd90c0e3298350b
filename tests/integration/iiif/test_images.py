import io
import json

import pytest
from PIL import Image

from app.errors import FetchError, NotAnImage
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.hosts import HostRule
from app.iiif.images import FetchedImage, fetch_canvas_image, fetch_info
from app.iiif.known_servers import KnownServers
from app.iiif.stated_sizes import StatedSizes
from app.net.addresses import AddressGuard
from tests.support.fetching import POLICY, Clock, build_limits
from tests.support.library import Answer, Library, Scan, build_manifest_2, build_manifest_3, draw_image
from tests.support.manifests import parse_manifest
from tests.unit.images.test_orientation import draw_page, save_tagged

SCAN = Scan(1200, 1600)


def find_image(library: Library, scan: Scan, version: int = 3, sizes: bool = True) -> CanvasImage:
    """Serve a scan and return its image as parsed from a manifest, with or without the size."""
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
def test_a_reduced_image_is_fetched_with_its_full_size(
    library: Library, fetcher: Fetcher, version: int, presentation: int
) -> None:
    image = find_image(library, Scan(1200, 1600, version=version), presentation)
    fetched = fetch_canvas_image(fetcher, image, 800)
    quality = "native" if version == 1 else "default"
    assert library.paths == ["/iiif/1/info.json", f"/iiif/1/full/600,/0/{quality}.jpg"]
    assert size_of(fetched) == (600, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_full_size_is_requested_on_demand(library: Library, fetcher: Fetcher, version: int) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(version=version)), None)
    assert size_of(fetched) == (1200, 1600)
    assert f"/full/{'max' if version == 3 else 'full'}/0/" in library.paths[-1]


def test_info_json_overrides_the_size_in_the_manifest(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.offer(Scan(2400, 3200))
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert (fetched.full_width, fetched.full_height) == (2400, 3200)


def test_a_sized_request_follows_a_refused_full_size_request(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(forms=("w,",)))
    assert size_of(fetch_canvas_image(fetcher, image, None)) == (1200, 1600)
    assert library.paths[1:] == [f"/iiif/1/full/{size}/0/default.jpg" for size in ("full", "max", "1200,")]


@pytest.mark.parametrize("longest", [None, 6000])
def test_the_largest_allowed_size_follows_a_refused_full_size(
    library: Library, fetcher: Fetcher, longest: int | None
) -> None:
    """A limit that ``info.json`` does not state: https://github.com/cantaloupe-project/cantaloupe/issues/537"""
    image = find_image(library, Scan(1200, 1600, forms=()))
    library.answer("/iiif/1/full/full/0/default.jpg", Answer(403))
    library.answer("/iiif/1/full/max/0/default.jpg", Answer(body=draw_image(600, 800)))
    fetched = fetch_canvas_image(fetcher, image, longest)
    assert size_of(fetched) == (600, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    assert "gives access only to a copy of 600 x 800 pixels" in fetched.note


@pytest.mark.parametrize("forms", [("w,h",), ("full",)])
def test_the_next_form_is_requested_after_a_refusal(library: Library, fetcher: Fetcher, forms: tuple[str, ...]) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(forms=forms)), 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    assert size_of(fetched) == ((600, 800) if forms == ("w,h",) else (1200, 1600))


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_image_is_requested_once_in_each_form(library: Library, fetcher: Fetcher, status: int) -> None:
    image = find_image(library, SCAN)
    for size in ("600,", "600,800", "full"):
        library.answer(f"/iiif/1/full/{size}/0/default.jpg", Answer(status))
    with pytest.raises(FetchError, match=f"answered {status}") as caught:
        fetch_canvas_image(fetcher, image, 800)
    assert caught.value.http_status == status
    assert len(library.paths) == len(set(library.paths)) == 4


def test_no_other_form_is_requested_from_a_server_that_is_down(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/full/600,/0/default.jpg", Answer(503))
    with pytest.raises(FetchError, match="answered 503"):
        fetch_canvas_image(fetcher, image, 800)
    assert set(library.paths[1:]) == {"/iiif/1/full/600,/0/default.jpg"}


@pytest.mark.parametrize("version", [2, 3])
def test_a_listed_size_is_requested_at_level_0(library: Library, fetcher: Fetcher, version: int) -> None:
    scan = Scan(version=version, level=0, sizes=((300, 400), (600, 800), (900, 1200)))
    assert size_of(fetch_canvas_image(fetcher, find_image(library, scan), 700)) == (600, 800)
    assert len(library.paths) == 2


def test_the_limits_of_the_server_are_respected(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(version=3, more={"maxWidth": 450}))
    assert size_of(fetch_canvas_image(fetcher, image, None)) == (337, 449)


def test_the_size_in_the_manifest_replaces_a_missing_info_json(library: Library, fetcher: Fetcher) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(info=False)), 800)
    assert size_of(fetched) == (600, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)


@pytest.mark.parametrize("body", ["<html>sign in</html>", "{}", '{"width": NaN, "height": 1}'])
def test_the_size_in_the_manifest_replaces_an_invalid_info_json(library: Library, fetcher: Fetcher, body: str) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/info.json", Answer(body=body))
    assert size_of(fetch_canvas_image(fetcher, image, 800)) == (600, 800)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_image_of_unknown_size_is_fetched_in_full_and_measured(
    library: Library, fetcher: Fetcher, version: int
) -> None:
    image = find_image(library, Scan(version=version, info=False), sizes=False)
    assert (image.width, image.height) == (None, None)
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert size_of(fetched) == (fetched.full_width, fetched.full_height) == (1200, 1600)


def test_the_image_url_is_requested_if_the_service_serves_nothing(library: Library, fetcher: Fetcher) -> None:
    service = find_image(library, Scan(info=False, forms=())).service
    url = library.answer("/scan.jpg", Answer(body=draw_image(300, 400)))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, None, None, service), 800)
    assert (f"{library.url}{library.paths[-1]}", fetched.full_width, fetched.full_height) == (url, 300, 400)


def test_a_reduced_image_is_never_measured_as_the_full_one(library: Library, fetcher: Fetcher) -> None:
    service = find_image(library, Scan(info=False, forms=("w,",))).service
    reduced = CanvasImage(f"{library.url}/iiif/1/full/300,/0/default.jpg", None, None, service)
    with pytest.raises(FetchError, match="answered 400"):
        fetch_canvas_image(fetcher, reduced, 800)


def test_the_service_id_in_info_json_is_ignored(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(more={"@id": "http://localhost:8182/iiif/2/1"}))
    fetch_canvas_image(fetcher, image, 800)
    assert library.paths[-1] == "/iiif/1/full/600,/0/default.jpg"


@pytest.mark.parametrize("wanted", [None, 100])
def test_an_image_without_a_service_is_not_reduced(library: Library, fetcher: Fetcher, wanted: int | None) -> None:
    url = library.answer("/scan.jpg", Answer(body=draw_image(300, 400)))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, 999, 999, None), wanted)
    assert (f"{library.url}{library.paths[-1]}", fetched.full_width, fetched.full_height) == (url, 300, 400)
    assert library.paths == ["/scan.jpg"]


def test_an_error_page_is_not_an_image(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/full/600,/0/default.jpg", Answer(body="<html>too many requests</html>"))
    with pytest.raises(NotAnImage, match="HTML page"):
        fetch_canvas_image(fetcher, image, 800)


def test_the_next_form_is_requested_after_a_server_error(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    library.answer("/iiif/1/full/600,/0/default.jpg", Answer(500))
    assert size_of(fetch_canvas_image(fetcher, image, 800)) == (600, 800)
    assert library.paths[1:] == ["/iiif/1/full/600,/0/default.jpg", "/iiif/1/full/600,800/0/default.jpg"]


def test_all_forms_share_the_limit_of_attempts(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, SCAN)
    for size in ("600,", "600,800", "full"):
        library.answer(f"/iiif/1/full/{size}/0/default.jpg", Answer(500))
    with pytest.raises(FetchError, match="answered 500") as caught:
        fetch_canvas_image(fetcher, image, 800)
    assert caught.value.temporary
    assert len(library.paths[1:]) == POLICY.attempts


@pytest.mark.parametrize("size", [(116_061, 9_000), (20_000, 20_000)])
@pytest.mark.parametrize("version", [2, 3])
def test_a_very_large_image_is_requested_at_a_reduced_size(
    library: Library, fetcher: Fetcher, size: tuple[int, int], version: int
) -> None:
    fetched = fetch_canvas_image(fetcher, find_image(library, Scan(*size, version=version)), 1000)
    assert (fetched.full_width, fetched.full_height) == size
    assert 1000 <= max(size_of(fetched)) <= 1001
    assert len(library.paths) == 2


@pytest.mark.parametrize(
    "name", ["a%2Fb", "a%252Fb", "a+b", "a%20b", "ark:%2F12148%2Fbtv1b8", "%C3%A9t%C3%A9", "a:b,c;d=e"]
)
def test_the_id_of_a_service_is_requested_unchanged(library: Library, fetcher: Fetcher, name: str) -> None:
    base = library.offer(SCAN, name)
    document = build_manifest_3(library.url, [SCAN])
    body = document["items"][0]["items"][0]["items"][0]["body"]
    body["service"] = [SCAN.build_service(base)]
    image = parse_manifest(json.dumps(document).encode(), library.url).canvases[0].image
    assert image is not None
    assert size_of(fetch_canvas_image(fetcher, image, 800)) == (600, 800)
    assert library.paths == [f"/iiif/{name}/info.json", f"/iiif/{name}/full/600,/0/default.jpg"]


def test_the_image_url_is_requested_if_every_form_is_refused(library: Library, fetcher: Fetcher) -> None:
    service = find_image(library, Scan(forms=())).service
    url = library.answer("/iiif/1/full/full/0/default.png", Answer(body=draw_image(1200, 1600, "PNG")))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, None, None, service), 800)
    assert (f"{library.url}{library.paths[-1]}", size_of(fetched)) == (url, (1200, 1600))


@pytest.fixture
def rate_limited_fetcher(library: Library, clock: Clock) -> Fetcher:
    """A fetcher with a rule that allows one large image every 15 seconds."""
    rule = HostRule(4, 0, image_size=1000, large_interval_seconds=15)
    return Fetcher(POLICY, build_limits(rule, clock), AddressGuard(frozenset({"127.0.0.1"})))


@pytest.mark.parametrize("sizes", [(), ((400, 602), (797, 1200))])
def test_default_requests_stay_within_the_image_size_of_the_host(
    library: Library, rate_limited_fetcher: Fetcher, clock: Clock, sizes: tuple[tuple[int, int], ...]
) -> None:
    image = find_image(library, Scan(2000, 3011, sizes=sizes))
    for longest in (1000, 1000, 900):
        assert max(size_of(fetch_canvas_image(rate_limited_fetcher, image, longest))) <= 1000
    assert clock.slept == []


def test_a_full_image_counts_as_large_even_as_the_last_form(
    library: Library, rate_limited_fetcher: Fetcher, clock: Clock
) -> None:
    image = find_image(library, Scan(forms=("full",)))
    for _ in range(3):
        fetch_canvas_image(rate_limited_fetcher, image, 800)
    assert clock.slept == [15, 15]


def test_a_small_full_image_does_not_count_as_large(
    library: Library, rate_limited_fetcher: Fetcher, clock: Clock
) -> None:
    image = find_image(library, Scan(600, 800))
    for _ in range(3):
        fetch_canvas_image(rate_limited_fetcher, image, None)
    assert clock.slept == []


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("stated", [True, False])
def test_a_stated_size_is_turned_like_the_file(library: Library, fetcher: Fetcher, level: int, stated: bool) -> None:
    """The service states the size before the rotation, and its files have the EXIF orientation of the scan."""
    scan = Scan(400, 300, level=level)
    image = find_image(library, scan)
    servers = KnownServers()
    sizes = StatedSizes([image], lambda service: fetch_info(fetcher, service, servers.find(service)))
    tagged = save_tagged(draw_page(300, 400), 6)
    library.answer("/iiif/1/full/full/0/default.jpg", Answer(body=tagged))
    fetched = fetch_canvas_image(fetcher, image, None, sizes if stated else None, servers)
    assert (fetched.full_width, fetched.full_height) == (300, 400)
    assert fetched.data == tagged
    assert library.paths == ["/iiif/1/info.json", "/iiif/1/full/full/0/default.jpg"]


def test_an_upright_stated_size_stays_upright(library: Library, fetcher: Fetcher) -> None:
    image = find_image(library, Scan(300, 400))
    library.answer("/iiif/1/full/full/0/default.jpg", Answer(body=save_tagged(draw_page(300, 400), 6)))
    fetched = fetch_canvas_image(fetcher, image, None)
    assert (fetched.full_width, fetched.full_height) == (300, 400)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_file_without_service_has_its_upright_size(library: Library, fetcher: Fetcher, orientation: int) -> None:
    url = library.answer("/p1.jpg", Answer(body=save_tagged(draw_page(), orientation)))
    fetched = fetch_canvas_image(fetcher, CanvasImage(url, None, None, None), 800)
    assert (fetched.full_width, fetched.full_height) == (60, 90)
