import json
import random
from dataclasses import replace
from typing import Any

import pytest

from app.errors import FetchError
from app.iiif.image_api import ImageService, build_image_url, derive_service, parse_service
from app.iiif.image_info import ImageInfo, parse_image_info
from app.iiif.image_requests import build_requests, choose_size
from tests.support.library import Scan

BASE = "https://library.example/iiif/1"
V1 = "http://library.stanford.edu/iiif/image-api"
V2 = "http://iiif.io/api/image/2"
INFO = ImageInfo(ImageService(BASE, 2, 1), 4000, 6000)


def parse(info: Any, service: ImageService | None = None) -> ImageInfo:
    return parse_image_info(json.dumps(info).encode(), service or ImageService(BASE, 2, 1))


def list_requested_sizes(info: ImageInfo, longest: int) -> list[str]:
    return [request.url.removeprefix(f"{BASE}/full/").partition("/")[0] for request in build_requests(info, longest)]


@pytest.mark.parametrize(
    ("block", "version", "level"),
    [
        ({"profile": f"{V1}/compliance.html#level1"}, 1, 1),
        ({"profile": f"{V1}/conformance.html#level0"}, 1, 0),
        ({"@context": f"{V1}/1.1/context.json", "profile": f"{V1}/1.1/compliance.html#level2"}, 1, 2),
        ({"@context": f"{V1}/1.1/context.json"}, 1, 1),
        ({"profile": "http://iiif.io/api/image/2/level1.json"}, 2, 1),
        ({"@context": f"{V2}/context.json", "profile": "http://iiif.io/api/image/2/profiles/level2.json"}, 2, 2),
        ({"@context": f"{V2}/context.json", "profile": [f"{V2}/level0.json", {"formats": ["jpg"]}]}, 2, 0),
        ({"@context": f"{V2}/context.json", "profile": f"{V1}/1.1/conformance.html#level1"}, 2, 1),
        ({"protocol": "http://iiif.io/api/image", "profile": f"{V2}/level1.json"}, 2, 1),
        ({"@type": "ImageService2", "profile": f"{V2}/level1.json"}, 2, 1),
        ({"type": "ImageService2", "profile": "level2"}, 2, 2),
        ({"type": "ImageService3", "profile": "level2"}, 3, 2),
        ({"type": ["ImageService3"], "profile": ["level0", {}]}, 3, 0),
        ({"@context": "http://iiif.io/api/image/3/context.json", "profile": "level1"}, 3, 1),
        ({"type": "ImageService1", "profile": "level2"}, 1, 2),
        ({"type": "ImageService", "profile": "level2"}, 2, 2),
        ({"profile": {"@id": f"{V2}/level0.json"}}, 2, 0),
        ({"@context": {"@value": f"{V2}/context.json"}, "profile": [{"@id": f"{V2}/level2.json"}]}, 2, 2),
        ({"type": "ImageService3", "profile": "level3"}, 3, 3),
        ({"profile": "LEVEL2"}, 2, 2),
        ({"@context": f"{V1}/1.1/context.json", "profile": f"{V1}/1.1/conformance.html#Level-1"}, 1, 1),
        ({"@type": "imageservice2", "profile": [f"{V2}/level0.json", f"{V2}/level2.json"]}, 2, 2),
    ],
)
def test_version_and_level_are_read_from_the_service_block(block: dict[str, Any], version: int, level: int) -> None:
    assert parse_service({"@id": f"{BASE}/", **block}) == ImageService(BASE, version, level)


@pytest.mark.parametrize(
    ("identifier", "base"),
    [
        (f" {BASE}/info.json?x=1 ", BASE),
        (f"{BASE}//info.json//", BASE),
        (f"{BASE}/full/full/0/default.jpg", BASE),
        (f"{BASE}/full/max/0/default.jpg/info.json#x", BASE),
        (f"{BASE}/10,10,50,50/full/90/native", BASE),
        ("https://library.example/iipsrv.fcgi?IIIF=a/b.tif", "https://library.example/iipsrv.fcgi?IIIF=a/b.tif"),
        ("https://library.example//iiif//1/", "https://library.example//iiif//1"),
        ("../iiif/1", BASE),
        ("/iiif/1/info.json", BASE),
        ("//library.example/iiif/1", BASE),
        ("http://library.example/iiif/1", BASE),
        ("http://other.example/iiif/1", "http://other.example/iiif/1"),
        ("http://library.example:8080/iiif/1", "http://library.example:8080/iiif/1"),
    ],
)
def test_the_base_url_is_read_from_a_deviating_id(identifier: str, base: str) -> None:
    """https://github.com/inveniosoftware/invenio-rdm-records/issues/981, https://www.w3.org/TR/json-ld11/#base-iri"""
    block = {"@id": identifier, "profile": "level1"}
    service = parse_service(block, f"{BASE}/full/full/0/default.jpg", "https://library.example/ms/manifest.json")
    assert service == ImageService(base, 2, 1)


def test_a_service_that_is_only_a_url_may_end_with_info_json() -> None:
    assert parse_service({"id": f"{BASE}/info.json"}, "https://library.example/scan.jpg") == ImageService(BASE, 2, 1)


@pytest.mark.parametrize(
    "image_url", [f"{BASE}//full/full/0/default.jpg", BASE.replace("https", "http") + "/full/full/0/default.jpg"]
)
def test_an_image_url_may_have_a_double_slash_or_another_scheme(image_url: str) -> None:
    assert parse_service({"id": BASE}, image_url) == ImageService(BASE, 2, 1)


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"@id": BASE},
        {"@id": BASE, "profile": "http://iiif.io/api/auth/1/login"},
        {"@id": BASE, "@context": "http://iiif.io/api/search/1/context.json"},
        {"@id": BASE, "profile": "http://iiif.io/api/annex/services/physdim"},
        {"@id": "iiif/1", "profile": f"{V2}/level1.json"},
        {"@id": ["x", 1], "profile": f"{V2}/level1.json"},
        {"@id": "file:///etc/passwd", "profile": f"{V2}/level1.json"},
    ],
)
def test_other_services_are_ignored(block: dict[str, Any]) -> None:
    assert parse_service(block) is None


@pytest.mark.parametrize(
    ("request_", "service"),
    [
        ("full/full/0/default.jpg", ImageService(BASE, 2, 1)),
        ("full/640,/0/default.png", ImageService(BASE, 2, 1)),
        ("full/max/0/default.jpg", ImageService(BASE, 3, 1)),
        ("full/full/0/native", ImageService(BASE, 1, 1)),
        ("10,10,50,50/full/!90/grey.jpg?token=1", ImageService(BASE, 2, 1)),
        ("page/1/full/full/0/default.jpg", None),
        ("default.jpg", None),
        ("", None),
    ],
)
def test_a_service_without_a_type_is_recognized_by_the_image_url(request_: str, service: ImageService | None) -> None:
    assert parse_service({"@id": f"{BASE}/"}, f"{BASE}/{request_}") == service


def test_a_service_without_a_type_for_another_image_is_ignored() -> None:
    assert parse_service({"@id": f"{BASE}/auth"}, f"{BASE}/full/full/0/default.jpg") is None
    assert parse_service({"@id": BASE}, BASE) is None


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_derived_service_first_requests_the_same_url(version: int) -> None:
    url = Scan(version=version).build_url(BASE)
    service = derive_service(url)
    assert service == ImageService(BASE, version, 0)
    assert build_requests(ImageInfo(service, 4000, 6000), 1000)[0].url == url


@pytest.mark.parametrize("url", ["", "full/full/0/default.jpg", "urn:x/full/full/0/default.jpg", f"{BASE}/scan.jpg"])
def test_no_service_is_derived_from_any_other_url(url: str) -> None:
    assert derive_service(url) is None


def test_an_id_is_used_unchanged() -> None:
    base = "https://library.example/iiif/ms%2Fpage+1%252Fé"
    service = parse_service({"@id": base, "profile": f"{V2}/level1.json"})
    assert service is not None
    assert service.info_url == f"{base}/info.json"
    assert build_image_url(service, "640,") == f"{base}/full/640,/0/default.jpg"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_info_json_of_each_version_is_read(version: int) -> None:
    scan = Scan(4000, 6000, version=version, level=2, sizes=((1000, 1500), (500, 750)))
    info = parse(scan.build_info("http://localhost:8182/iiif/1"))
    assert info.service == ImageService(BASE, version, 2)
    assert (info.width, info.height) == (4000, 6000)
    assert info.sizes == ((500, 750), (1000, 1500))


def test_the_manifest_completes_an_info_json_without_a_type() -> None:
    service = ImageService(BASE, 3, 0)
    assert parse({"width": 4000, "height": 6000}, service).service == service
    assert parse({"width": 4000, "height": 6000, "protocol": "http://iiif.io/api/image"}, service).service == service


def test_info_json_may_be_a_list_with_numbers_as_text() -> None:
    info = parse([{"width": "4000", "height": [6000.0], "sizes": {"width": {"@value": 400}, "height": "600"}}])
    assert (info.width, info.height, info.sizes) == (4000, 6000, ((400, 600),))


@pytest.mark.parametrize(
    ("info", "names"),
    [
        ({"@context": f"{V1}/1.1/context.json", "qualities": ["native", "color"], "formats": ["jpg", "png"]}, ()),
        ({"@context": f"{V1}/1.1/context.json", "formats": ["png"]}, ("native.png", "native.jpg")),
        ({"@context": f"{V1}/1.1/context.json", "qualities": "default"}, ("default.jpg", "native.jpg")),
        ({"profile": [f"{V2}/level1.json", {"formats": ["gif", "WEBP"]}]}, ("default.jpg", "default.webp")),
        ({"profile": [f"{V2}/level1.json", {"qualities": ["gray", "bitonal"]}]}, ("default.jpg", "gray.jpg")),
        ({"type": "ImageService3", "extraFormats": ["tif", "png"]}, ("default.jpg", "default.png")),
        ({"type": "ImageService3", "extraFormats": ["gif"], "extraQualities": [7]}, ()),
    ],
)
def test_names_that_a_service_lists_are_alternatives(info: dict[str, Any], names: tuple[str, ...]) -> None:
    """https://iiif.io/api/image/2.1/#profile-description"""
    assert parse({"width": 4000, "height": 6000, **info}).names == names


def test_sizes_may_be_text_or_fractions_and_invalid_ones_are_ignored() -> None:
    sizes = [
        {"width": 0, "height": 9},
        {"width": -400, "height": -600},
        {"width": "400.0", "height": "600"},
        [1, 2],
        "9,9",
    ]
    info = parse({"width": "4000.0", "height": 6000.4, "sizes": sizes, "maxWidth": "2000"})
    assert (info.width, info.height, info.sizes) == (4000, 6000, ((400, 600),))
    assert (info.max_width, info.max_height) == (2000, 2000)


def test_other_features_of_a_service_change_no_request() -> None:
    more = {"tiles": [{"scaleFactors": [1, 2, 4]}], "preferredFormats": ["webp"], "extraFormats": ["tif"]}
    more |= {"extraQualities": ["color"], "formats": ["png"], "qualities": ["native", "grey"], "scale_factors": [1, 2]}
    more |= {"profile": [f"{V2}/level1.json", {"qualities": ["gray", "color"], "formats": ["png"]}]}
    info = parse({"@context": f"{V2}/context.json", "width": 4000, "height": 6000} | more)
    assert replace(info, formats=()) == INFO


def test_a_level_0_service_with_size_by_w_gets_sized_requests() -> None:
    size = {"width": 4000, "height": 6000}
    two = parse({**size, "profile": [f"{V2}/level0.json", {"supports": ["sizeByW", "cors"]}]})
    three = parse({**size, "type": "ImageService3", "profile": "level0", "extraFeatures": ["sizeByW"]})
    assert list_requested_sizes(two, 1500)[0] == list_requested_sizes(three, 1500)[0] == "1000,"
    listed = parse({**size, "profile": [f"{V2}/level0.json", {"supports": ["sizeByWhListed"]}]})
    assert list_requested_sizes(listed, 1500)[0] == "full"


def test_limits_are_read_at_the_top_level_and_in_the_profile() -> None:
    size = {"width": 4000, "height": 6000}
    top = parse({**size, "maxWidth": 2000})
    assert (top.max_width, top.max_height, top.max_area) == (2000, 2000, None)
    inside = parse({**size, "profile": [f"{V2}/level1.json", {"maxWidth": 3000, "maxHeight": 900, "maxArea": 10**6}]})
    assert (inside.max_width, inside.max_height, inside.max_area) == (3000, 900, 10**6)
    height = parse({**size, "maxHeight": 900, "profile": {"@id": f"{V2}/level1.json"}})
    assert (height.max_width, height.max_height, height.max_area) == (None, 900, None)


@pytest.mark.parametrize("limit", [True, 0, -1, "much", None, [], 10**30, float("nan")])
def test_an_invalid_limit_is_ignored(limit: Any) -> None:
    info = parse({"width": 4000, "height": 6000, "maxWidth": limit, "maxArea": limit})
    assert choose_size(info, 6000) == (4000, 6000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>not found</html>",
        b"null",
        b"7",
        b"[]",
        b'"info"',
        b"{}",
        b'{"width": 4000}',
        b'{"width": 0, "height": 6000}',
        b'{"width": -4000, "height": 6000}',
        b'{"width": true, "height": true}',
        b'{"width": NaN, "height": 6000}',
        b'{"width": Infinity, "height": 6000}',
        b'{"width": 1e999, "height": 6000}',
        b'{"width": [4000], "height": {}}',
        b'{"width": ' + b"9" * 400 + b', "height": 6000}',
        b'{"width": ' + b"9" * 5000 + b', "height": 6000}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_an_invalid_info_json_is_a_fetch_error(data: bytes) -> None:
    with pytest.raises(FetchError, match="does not describe an image"):
        parse_image_info(data, INFO.service)


def test_malformed_members_of_info_json_are_ignored() -> None:
    chance = random.Random(3)
    odd: list[Any] = [None, [], {}, True, -1, 0.5, "x", 10**400, float("nan"), [[]], [{}], [{"width": {}}], "level9"]
    whole = Scan(4000, 6000, sizes=((1000, 1500),)).build_info(BASE) | {"maxWidth": 2000, "maxArea": 10**6}
    for _ in range(400):
        info = whole | {
            key: chance.choice(odd) for key in chance.sample(list(whole), 3) if key not in ("width", "height")
        }
        parsed = parse(info)
        for longest in (1, 1280, 10**6):
            assert build_requests(parsed, longest)[0].url.startswith(f"{BASE}/full/")
            assert max(choose_size(parsed, longest)) <= 6000
