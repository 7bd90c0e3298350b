import tracemalloc
from typing import Any

import pytest

from app.iiif.canvas import CanvasImage, parse_canvas
from app.iiif.image_api import ImageService
from app.iiif.manifest import Manifest
from tests.support.library import Scan, build_manifest_2, build_manifest_3
from tests.support.manifests import (
    BASE,
    IMAGE,
    NO_IMAGE,
    SERVICE,
    build_image,
    image_of,
    parse,
    parse_body,
    parse_resource,
    urls_of,
)


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        ({"type": "Choice", "items": [{"id": "a.mp3", "type": "Sound"}]}, "sound"),
        ({"id": f"{BASE}/film.mp4", "type": "dctypes:MovingImage"}, "video"),
        ({"id": f"{BASE}/film", "format": "video/mp4"}, "video"),
        (f"{BASE}/speech.MP3", "sound"),
        ({"id": f"{BASE}/book.pdf", "type": "Text", "format": "application/pdf"}, "a PDF document"),
        ({"id": f"{BASE}/book.pdf", "type": "Image", "format": "application/pdf"}, "a PDF document"),
        ({"id": f"{BASE}/book.pdf"}, "a PDF document"),
        ({"id": f"{BASE}/vase.glb", "type": "Model", "format": "model/gltf-binary"}, "a 3D model"),
        ({"@id": f"{BASE}/vase", "@type": "dctypes:PhysicalObject"}, "a 3D model"),
        ({"type": "TextualBody", "value": "blank page"}, "text"),
        ({"@type": ["cnt:ContentAsText", "dctypes:Text"], "chars": "blank page"}, "text"),
        ({"id": f"{BASE}/table.csv", "type": "Dataset"}, "a data set"),
    ],
)
def test_a_canvas_without_an_image_says_what_it_holds(body: Any, holds: str) -> None:
    canvas = parse_body(body)
    assert (canvas.images, canvas.reason) == ((), f"This canvas holds {holds}, not an image.")


@pytest.mark.parametrize("place", ["placeholderCanvas", "accompanyingCanvas", "thumbnail", "annotations"])
def test_a_poster_is_not_the_image_of_a_video(place: str) -> None:
    document = build_manifest_3(BASE, [Scan()])
    canvas = document["items"][0]
    poster = {"type": "Canvas", "items": canvas["items"]}
    film = {"type": "Annotation", "motivation": "painting", "body": {"id": "film.mp4", "type": "Video"}}
    document["items"] = [{"type": "Canvas", "items": [{"items": [film]}], place: poster}]
    assert parse(document).canvases[0].reason == "This canvas holds video, not an image."


def test_an_image_next_to_text_and_video_is_found() -> None:
    bodies = [{"type": "TextualBody", "value": "a film"}, {"id": "film.mp4", "type": "Video"}, IMAGE]
    assert urls_of(parse_body(bodies)) == [IMAGE["id"]]


def test_a_choice_gives_its_default_first() -> None:
    """https://github.com/Princeton-CDH/geniza/issues/1954"""
    item = {"@id": f"{BASE}/infrared.jpg", "@type": "dctypes:Image"}
    default = {"@id": f"{BASE}/visible.jpg", "@type": "dctypes:Image"}
    canvas = parse_resource({"@type": "oa:Choice", "item": [item, "rdf:nil", default], "default": default})
    assert urls_of(canvas) == [f"{BASE}/visible.jpg", f"{BASE}/infrared.jpg"]
    assert image_of(canvas).url == f"{BASE}/visible.jpg"
    canvas = parse_resource({"@type": "oa:Choice", "default": "rdf:nil", "item": item})
    assert urls_of(canvas) == [f"{BASE}/infrared.jpg"]


def test_a_choice_without_default_gives_its_items_in_order() -> None:
    items = [{"@id": f"{BASE}/{name}.jpg", "@type": "dctypes:Image"} for name in ("visible", "infrared")]
    assert urls_of(parse_resource({"@type": "oa:Choice", "item": items})) == [item["@id"] for item in items]
    choice = {"type": "Choice", "items": [build_image("visible"), f"{BASE}/infrared.jpg", build_image("visible")]}
    assert urls_of(parse_body(choice)) == [f"{BASE}/visible.jpg", f"{BASE}/infrared.jpg"]


@pytest.mark.parametrize("place", ["items", "source", "default"])
def test_deeply_nested_choices_give_no_image(place: str) -> None:
    for depth, count in ((3, 1), (400, 0)):
        body: dict[str, Any] = build_image("scan")
        for _ in range(depth):
            body = {"type": "Choice", place: body}
        assert len(parse_body(body).images) == count


def test_a_part_of_an_image_gives_the_whole_image() -> None:
    region = {"type": "ImageApiSelector", "region": "10,10,100,100"}
    part = {"id": f"{BASE}/iiif/1/10,10,100,100/max/0/default.jpg", "type": "SpecificResource", "selector": region}
    assert image_of(parse_body(part | {"source": IMAGE})).url == IMAGE["id"]
    assert image_of(parse_body(part | {"source": IMAGE["id"]})).url == IMAGE["id"]
    choice = {"type": "Choice", "items": [part | {"source": IMAGE}, build_image("infrared")]}
    assert urls_of(parse_body(choice)) == [IMAGE["id"], f"{BASE}/infrared.jpg"]
    full = {"@id": f"{BASE}/scan.jpg", "@type": "dctypes:Image"}
    assert image_of(parse_resource({"@type": "oa:SpecificResource", "full": full})).url == f"{BASE}/scan.jpg"


def test_a_nested_canvas_gives_its_images() -> None:
    inner = build_manifest_3(BASE, [Scan()])["items"][0]
    assert urls_of(parse_body(inner)) == [f"{BASE}/iiif/1/full/full/0/default.jpg"]


def test_all_images_of_a_canvas_are_listed_and_the_first_is_used() -> None:
    canvas = parse_body([IMAGE, build_image("detail"), IMAGE])
    assert urls_of(canvas) == [IMAGE["id"], f"{BASE}/detail.jpg"]
    assert canvas.image is canvas.images[0]
    notes = [{"resource": build_image(name)} for name in ("page", "flap", "page")]
    document = {"sequences": [{"canvases": [{"images": notes}]}]}
    assert urls_of(parse(document).canvases[0]) == [f"{BASE}/page.jpg", f"{BASE}/flap.jpg"]


def test_two_sizes_of_one_image_are_one_image() -> None:
    sizes = [{**IMAGE, "id": f"{SERVICE['id']}/full/{size}/0/default.jpg", "service": SERVICE} for size in (500, "max")]
    assert len(parse_body(sizes).images) == 1


def test_the_size_of_a_canvas_is_not_that_of_its_image() -> None:
    document = build_manifest_2(BASE, [Scan(300, 400)] * 2)
    document["sequences"][0]["canvases"][0] |= {"width": "1200", "height": 1600}
    first, second = parse(document).canvases
    assert (first.width, first.height, second.width, second.height) == (1200, 1600, None, None)
    assert (image_of(first).width, image_of(first).height) == (300, 400)


@pytest.mark.parametrize("motivation", ["sc:painting", {"@id": "sc:painting"}, "oa:Painting", [], ""])
def test_the_painting_motivation_is_recognized_in_every_form(motivation: Any) -> None:
    assert parse_body(IMAGE, motivation).image is not None


def test_a_body_that_is_not_painted_is_ignored() -> None:
    assert parse_body(IMAGE, motivation="supplementing").image is None
    assert parse_body(IMAGE, motivation=["painting"]).image is not None
    assert parse_body(IMAGE, motivation=None).image is not None


@pytest.mark.parametrize(
    "service",
    [SERVICE, [SERVICE], {"@set": [SERVICE]}, [{"id": "x", "profile": "http://auth"}, "x", SERVICE], [[SERVICE]]],
)
def test_an_image_service_is_found_as_an_object_and_in_a_list(service: Any) -> None:
    found = image_of(parse_body({**IMAGE, "service": service})).service
    assert found is not None
    assert found.id == SERVICE["id"]


@pytest.mark.parametrize("service", ["https://library.example/iiif/1", None, 7, {"@id": f"{BASE}/auth/login"}])
def test_other_services_leave_a_plain_image(service: Any) -> None:
    image = image_of(parse_body({**IMAGE, "service": service}))
    assert image.service is None
    assert image.url == IMAGE["id"]


@pytest.mark.parametrize("named", [SERVICE["id"], {"id": SERVICE["id"]}, {"@id": SERVICE["id"], "@type": "x"}])
def test_a_service_given_by_id_is_used_if_the_image_is_from_it(named: Any) -> None:
    reduced = {**IMAGE, "id": f"{SERVICE['id']}/full/!300,400/0/native.jpg", "service": named}
    assert image_of(parse_body(reduced)).service == ImageService(SERVICE["id"], 1, 1)
    elsewhere = {**reduced, "id": f"{BASE}/iiif/2/full/!300,400/0/native.jpg"}
    assert image_of(parse_body(elsewhere)).service is None


@pytest.mark.parametrize("named", [SERVICE["id"], [SERVICE["id"]], {"id": SERVICE["id"], "type": "ImageService3"}])
def test_a_service_that_the_manifest_describes_once_is_found_by_its_id(named: Any) -> None:
    document = build_manifest_3(BASE, [Scan()])
    document["items"][0]["items"][0]["items"][0]["body"] = {**IMAGE, "service": named}
    document["services"] = [{"id": f"{BASE}/search", "type": "SearchService2"}, {**SERVICE, "profile": "level0"}]
    assert image_of(parse(document).canvases[0]).service == ImageService(SERVICE["id"], 3, 0)


@pytest.mark.parametrize(
    ("request_", "version"), [("full/full/0/native", 1), ("full/full/0/default", 2), ("full/max/0/default", 3)]
)
def test_a_service_is_derived_from_a_whole_image_url(request_: str, version: int) -> None:
    image = image_of(parse_body(f"{BASE}/iiif/ms%2F1/{request_}.jpg"))
    assert image.service == ImageService(f"{BASE}/iiif/ms%2F1", version, 0)
    stated = image_of(parse_body({**IMAGE, "id": image.url}))
    # The size in the manifest is ignored, because an image without a service is measured.
    assert stated == image


@pytest.mark.parametrize(
    "request_",
    [
        "full/!300,400/0/default.jpg",
        "10,10,90,90/full/0/default.jpg",
        "full/full/90/default.jpg",
        "full/full/0/default.png",
        "full/full/0/default.jpg?token=1",
        "full/full/0/gray.jpg",
        "full/full/0/default.jpg.jpg",
        "default.jpg",
    ],
)
def test_no_service_is_derived_if_its_first_request_would_differ(request_: str) -> None:
    image = image_of(parse_body({**IMAGE, "id": f"{BASE}/iiif/1/{request_}"}))
    assert image.service is None


@pytest.mark.parametrize(
    ("url", "reduced"),
    [
        (f"{BASE}/iiif/1/full/full/0/default.jpg", False),
        (f"{BASE}/iiif/1/full/max/0/native", False),
        (f"{BASE}/iiif/1/full/^max/0/default.jpg", True),
        (f"{BASE}/iiif/1/full/640,/0/default.jpg", True),
        (f"{BASE}/iiif/1/full/full/!0/default.jpg", True),
        (f"{BASE}/fcgi-bin/iipsrv.fcgi?IIIF=ms/1.tif/full/640,/0/default.jpg", True),
        (f"{BASE}/fcgi-bin/iipsrv.fcgi?IIIF=ms/1.tif/full/full/0/default.jpg", False),
        (f"{BASE}/scan.jpg", False),
    ],
)
def test_a_url_shows_whether_the_image_is_reduced(url: str, reduced: bool) -> None:
    assert CanvasImage(url, None, None, None).is_reduced is reduced


@pytest.mark.parametrize("body", [IMAGE["id"], [IMAGE["id"]], {"@id": IMAGE["id"]}, {"@value": IMAGE["id"]}])
def test_an_image_may_be_given_by_its_url_alone(body: Any) -> None:
    assert image_of(parse_body(body)).url == image_of(parse_resource(body)).url == IMAGE["id"]


def test_a_url_without_a_scheme_gets_https() -> None:
    image = image_of(parse_body({"id": "//host/a.jpg", "type": "Image", "service": {**SERVICE, "id": "//host/iiif/a"}}))
    assert image.url == "https://host/a.jpg"
    assert image.service == ImageService("https://host/iiif/a", 3, 1)


def test_relative_urls_are_resolved_against_the_manifest() -> None:
    """https://www.w3.org/TR/json-ld11/#base-iri"""
    image = image_of(parse_body({"id": "a%2Fb.jpg?x=1", "type": "Image", "service": {**SERVICE, "id": "../iiif/a"}}))
    assert image.url == f"{BASE}/ms/a%2Fb.jpg?x=1"
    assert image.base == f"{BASE}/iiif/a"


def test_a_resource_of_unknown_type_with_a_service_is_an_image() -> None:
    odd = {"id": f"{BASE}/page", "type": "Page"}
    assert parse_body(odd).reason == NO_IMAGE
    assert image_of(parse_body({**odd, "service": SERVICE})).service is not None
    pdf = {"id": f"{BASE}/book.pdf", "type": "Image", "format": "application/pdf", "service": SERVICE}
    assert image_of(parse_body(pdf)).service is not None


def test_a_level_of_annotations_may_be_missing() -> None:
    document = build_manifest_3(BASE, [Scan()])
    document["items"][0]["items"] = document["items"][0]["items"][0]["items"]
    assert parse(document).canvases[0].image is not None


def test_content_in_another_document_is_reported() -> None:
    page = {"id": f"{BASE}/canvas/1/page", "type": "AnnotationPage"}
    canvases = [{"type": "Canvas", "items": [page]}, {"@type": "sc:Canvas", "images": [f"{BASE}/annotation/1"]}]
    for canvas in parse({"type": "Manifest", "items": canvases}).canvases:
        assert canvas.reason == "The content of this canvas is in another document, which this service does not read."


def test_the_size_of_a_reduced_image_is_not_the_full_size() -> None:
    reduced = {**IMAGE, "id": f"{BASE}/iiif/1/full/!300,400/0/default.jpg", "service": SERVICE}
    assert image_of(parse_body(reduced)).width is None
    assert image_of(parse_body({**reduced, "service": None})).width is None
    measured = image_of(parse_body({**reduced, "service": {**SERVICE, "width": 3000, "height": 4000}}))
    assert (measured.width, measured.height) == (3000, 4000)


@pytest.mark.parametrize("size", [True, -3, 0, 10**30, float("nan"), float("inf"), "wide", "9" * 5000, [], {}, None])
def test_an_invalid_size_is_unknown(size: Any) -> None:
    assert image_of(parse_body({**IMAGE, "width": size})).width is None


@pytest.mark.parametrize("size", [300, 300.0, "300"])
def test_a_size_may_be_written_in_several_ways(size: Any) -> None:
    assert image_of(parse_body({**IMAGE, "width": size})).width == 300


@pytest.mark.parametrize("odd", ["\ud800", "\0"])
def test_a_character_that_cannot_be_stored_is_replaced_in_an_id(odd: str) -> None:
    canvas = parse_body({"id": f"{BASE}/{odd}.jpg", "type": "Image"})
    assert Manifest("", "", (canvas,)).image_name(canvas) == "\N{REPLACEMENT CHARACTER}.jpg"


def test_a_service_referenced_many_times_is_not_copied() -> None:
    service = {"id": "s"} | {f"k{number}": 0 for number in range(20_000)}
    body = {**IMAGE, "service": ["s"] * 500}
    canvas = {"items": [{"items": [{"motivation": "painting", "body": body}]}]}
    tracemalloc.start()
    try:
        parse_canvas(1, canvas, {"s": service})
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_service_block_overrides_the_shared_description() -> None:
    shared = {SERVICE["id"]: {**SERVICE, "width": 5, "height": 7, "profile": "level0"}}
    body = {**IMAGE, "service": ["other", {"@id": SERVICE["id"], "profile": "level2"}]}
    image = image_of(parse_canvas(1, {"items": [{"items": [{"body": body}]}]}, shared))
    assert image.service is not None
    assert (image.service.level, image.width, image.height) == (2, 5, 7)
