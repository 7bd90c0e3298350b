"""Image resources that deviate from the usual form: services as sources, media fragments, and contradictory sizes."""

import json
from typing import Any

import pytest

from app.iiif.canvas import Canvas
from app.iiif.image_api import ImageService
from tests.support.manifests import BASE, REAL, SERVICE, URL, image_of, parse, parse_body, parse_manifest

BASE_URL = SERVICE["id"]
REGION = {"type": "ImageApiSelector", "region": "10,10,100,100"}


def parse_page(body: Any, target: Any = "", width: Any = 3000, height: Any = 4000) -> Canvas:
    """Return a canvas that has a size, with one painting annotation."""
    annotation = {"motivation": "painting", "body": body, "target": target}
    canvas = {"type": "Canvas", "width": width, "height": height, "items": [{"items": [annotation]}]}
    return parse({"type": "Manifest", "items": [canvas]}).canvases[0]


@pytest.mark.parametrize(
    ("kind", "version"), [("ImageService1", 1), ("ImageService2", 2), ("ImageService3", 3), ("iiif:ImageService2", 2)]
)
def test_the_source_of_a_part_may_be_an_image_service(kind: str, version: int) -> None:
    source = {"id": f"{BASE}/iiif/a.jpg", "type": kind, "profile": "level2", "width": 3000, "height": 4000}
    image = image_of(parse_body({"type": "SpecificResource", "source": source, "selector": REGION}))
    assert image.service == ImageService(f"{BASE}/iiif/a.jpg", version, 2)
    assert (image.url, image.width, image.height, image.is_part) == ("", 3000, 4000, True)


def test_an_image_service_without_a_web_address_gives_no_service() -> None:
    source = {"id": "file:///scan.jpg", "type": "ImageService3"}
    image = image_of(parse_body({"type": "SpecificResource", "source": source}))
    assert (image.url, image.service) == ("file:///scan.jpg", None)


@pytest.mark.parametrize("kind", ["ImageApiSelector", "iiif:ImageApiSelector"])
def test_the_url_of_an_image_service_may_be_the_source_of_a_part(kind: str) -> None:
    part = {"type": "SpecificResource", "source": BASE_URL, "selector": REGION | {"type": kind}}
    image = image_of(parse_body(part))
    assert (image.service, image.is_part) == (ImageService(BASE_URL, 2, 1), True)
    other = image_of(parse_body(part | {"selector": {"type": "FragmentSelector", "value": "xywh=1,2,3,4"}}))
    assert other.service is None


@pytest.mark.parametrize("unit", ["", "pixel:", "percent:"])
@pytest.mark.parametrize("url", [f"{BASE}/scan.jpg", f"{BASE}/iiif/1/full/full/0/default.jpg"])
def test_an_image_id_with_a_media_fragment_is_a_part_of_the_image(url: str, unit: str) -> None:
    whole = image_of(parse_body({"id": url, "type": "Image"}))
    part = image_of(parse_body({"id": f"{url}#xywh={unit}10,20,30,40", "type": "Image"}))
    assert part == whole
    assert (part.is_part, whole.is_part) == (True, False)


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ("xywh=percent:10,12.5,50,25", (300, 500, 1500, 1000)),
        ("xywh=percent:0,0,33.3333,100", (0, 0, 1000, 4000)),
        ("xywh=percent:0,0,0,100", None),
        ("xywh=pixel:10,20,30,40", (10, 20, 30, 40)),
    ],
)
def test_a_target_in_percent_is_a_region_in_canvas_units(region: str, place: tuple[int, ...] | None) -> None:
    body = {"id": f"{BASE}/scan.jpg", "type": "Image"}
    assert image_of(parse_page(body, f"{BASE}/c1#{region}")).place == place


def test_a_target_in_percent_of_an_unknown_size_is_the_canvas() -> None:
    canvas = parse_page({"id": f"{BASE}/scan.jpg", "type": "Image"}, f"{BASE}/c1#xywh=percent:10,10,50,50", width=None)
    assert image_of(canvas).place is None


def find_size(request_: str, stated: tuple[int, int], service: Any = SERVICE) -> tuple[int | None, int | None]:
    """Return the full size of an image on a canvas of 3000 x 4000."""
    body = {"id": f"{BASE_URL}/{request_}/0/default.jpg", "type": "Image", "width": stated[0], "height": stated[1]}
    image = image_of(parse_page(body | {"service": service}))
    return image.width, image.height


@pytest.mark.parametrize(
    "request_",
    [
        "full/!1024,1024",
        "full/1000,",
        "full/,1000",
        "full/750,1000",
        "full/pct:100",
        "full/max",
    ],
)
def test_a_stated_size_that_the_url_contradicts_is_the_full_size(request_: str) -> None:
    assert find_size(request_, (3000, 4000)) == (3000, 4000)


@pytest.mark.parametrize(
    ("request_", "stated"),
    [
        ("full/!1024,1024", (768, 1024)),
        ("full/750,", (750, 1000)),
        ("full/,1000", (750, 1000)),
        ("full/750,1000", (750, 1000)),
        ("full/pct:25", (750, 1000)),
        ("full/^max", (3000, 4000)),
        ("10,10,500,500/250,", (3000, 4000)),
    ],
)
def test_a_stated_size_that_the_url_requests_is_not_the_full_size(request_: str, stated: tuple[int, int]) -> None:
    assert find_size(request_, stated) == (None, None)


def test_a_reduced_image_without_a_service_has_no_full_size() -> None:
    assert find_size("full/1000,", (3000, 4000), service=None) == (None, None)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real manifests of ../shared")
@pytest.mark.parametrize("name", ["ghent-omeka", "scroll"])
def test_real_manifests_with_reduced_urls_state_full_sizes(name: str) -> None:
    data = (REAL / "presentation-2" / f"{name}.json").read_bytes()
    stated = [
        canvas["images"][0]["resource"] for sequence in json.loads(data)["sequences"] for canvas in sequence["canvases"]
    ]
    images = [image_of(canvas) for canvas in parse_manifest(data, URL).canvases]
    assert [(image.width, image.height) for image in images] == [(each["width"], each["height"]) for each in stated]
    assert all(image.is_reduced for image in images)
