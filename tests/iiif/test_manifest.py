import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT
from app.errors import ManifestError
from app.iiif.collection import Collection
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageService
from app.iiif.images import fetch_canvas_image
from app.iiif.manifest import Canvas, CanvasImage, Manifest, build_manifest_ref, parse_document, parse_manifest
from tests.library import Answer, Library, Scan, build_manifest_2, build_manifest_3

URL = "https://library.example/ms/manifest.json"
BASE = "https://library.example"
REAL = ROOT.parent / "shared" / "manifests"
IMAGE = {"id": f"{BASE}/scan.png", "type": "Image", "width": 300, "height": 400}
SERVICE = {"id": f"{BASE}/iiif/1", "type": "ImageService3", "profile": "level1"}
NO_IMAGE = "The manifest has no image on this canvas."


def parse(document: Any, max_canvases: int = 5000) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), URL, max_canvases)


def parse_body(body: Any, motivation: Any = "painting") -> Canvas:
    """Return the canvas of a Presentation 3 manifest that is painted with a body."""
    annotation = {"type": "Annotation", "motivation": motivation, "body": body}
    return parse({"type": "Manifest", "items": [{"type": "Canvas", "items": [{"items": [annotation]}]}]}).canvases[0]


def parse_resource(resource: Any) -> Canvas:
    """Return the canvas of a Presentation 2 manifest that is painted with a resource."""
    canvas = {"@type": "sc:Canvas", "images": [{"@type": "oa:Annotation", "resource": resource}]}
    return parse({"@type": "sc:Manifest", "sequences": [{"canvases": [canvas]}]}).canvases[0]


def urls_of(canvas: Canvas) -> list[str]:
    return [image.url for image in canvas.images]


def build_image(name: str) -> dict[str, Any]:
    return {"id": f"{BASE}/{name}.jpg", "type": "Image"}


def image_of(canvas: Canvas) -> CanvasImage:
    assert canvas.image is not None, canvas.reason
    return canvas.image


@pytest.mark.parametrize(
    ("manifest_id", "url", "ref"),
    [
        ("https://library.example/iiif/MS-ENGLISH-00078", URL, "MS-ENGLISH-00078"),
        ("https://library.example/auto/manuscript/ms-3/manifest.json", URL, "ms-3"),
        (
            "https://collections.library.yale.edu/manifests/16960303",
            "https://collections.library.yale.edu/manifests/16960303",
            "collectionslibraryyaleedus16960303",
        ),
        ("", "https://library.example/ms 1/manifest.json", "libraryexamplems_1"),
        ("manifest.json", "http://www.library.example/7/manifest.json", "libraryexample7"),
        ("https://library.example/iiif/MS 7.2", URL, "MS_72"),
        ("https://library.example/iiif/ms-3/", URL, "ms-3"),
        ("https://library.example/iiif/ms-3?format=3", URL, "ms-3"),
        ("urn:uuid:ms-3", URL, "uuidms-3"),
        ("https://[library", "https://library.example/ms", "[library"),
        ("https://library.example/", "https://library.example/ms", "libraryexamplems"),
    ],
)
def test_manifest_ref_is_the_label_that_client_apps_know(manifest_id: str, url: str, ref: str) -> None:
    assert build_manifest_ref(manifest_id, url) == ref


@pytest.mark.parametrize(
    ("image_id", "name"),
    [
        ("https://library.example/iiif/2/wit1_man191_0009.jpg", "wit1_man191_0009.jpg"),
        ("https://library.example/iiif/2/ms%2F0009.jpg", "ms%2F0009.jpg"),
        ("https://library.example/iiif/2/page.jpg.tif", "page.jpg.tif"),
        ("https://library.example/iiif/2/0009", "ms_0001.jpg"),
        ("https://library.example/iiif/2/0009.JPG", "ms_0001.jpg"),
        ("https://library.example/iiif/2/a b.jpg", "ms_0001.jpg"),
        ("https://[library/0009.jpg", "0009.jpg"),
    ],
)
def test_image_name_is_the_images_own_when_it_has_one(image_id: str, name: str) -> None:
    manifest = parse(
        build_manifest_2(BASE, [Scan()], name="ms")
        | {
            "sequences": [
                {"canvases": [{"images": [{"resource": {"@id": "x", "service": {**SERVICE, "id": image_id}}}]}]}
            ]
        }
    )
    assert manifest.image_name(manifest.canvases[0]) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://library.example/iiif/2/wit1_0009.jpg/full/full/0/default.jpg", "wit1_0009.jpg"),
        ("https://library.example/iiif/2/wit1_0009.jpg/full/!500,500/0/default.jpg?token=1", "wit1_0009.jpg"),
        ("https://library.example/scans/page-4.jpg?size=big", "page-4.jpg"),
        ("https://library.example/scans/page-4.png", "_0001.jpg"),
        ("https://library.example/iiif/2/0009/full/full/0/default.jpg", "_0001.jpg"),
    ],
)
def test_image_name_of_an_image_without_a_service_is_read_from_its_address(url: str, name: str) -> None:
    canvas = parse_body({"id": url, "type": "Image"})
    assert Manifest("", "", (canvas,)).image_name(canvas) == name


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("build", "level", "ref"), [(build_manifest_2, 0, "ms-2"), (build_manifest_3, 2, "ms-3")])
def test_both_presentations_are_read(version: int, build: Callable[..., Any], level: int, ref: str) -> None:
    manifest = parse(build(BASE, [Scan(300, 400, version=version, level=level), Scan(version=version)]))
    assert [canvas.number for canvas in manifest.canvases] == [1, 2]
    assert manifest.canvases[1].id == f"{BASE}/canvas/2"
    assert manifest.ref == ref
    image = image_of(manifest.canvases[0])
    assert (image.width, image.height) == (300, 400)
    assert image.service is not None
    assert (image.service.id, image.service.version, image.service.level) == (f"{BASE}/iiif/1", version, level)


def test_a_canvas_without_an_image_says_so_and_shifts_no_other() -> None:
    document = build_manifest_3(BASE, [Scan()] * 6)
    bodies = [canvas["items"][0]["items"][0]["body"] for canvas in document["items"]]
    bodies[0] |= {"type": "Sound", "service": []}
    bodies[1] |= {"type": "Video", "service": []}
    document["items"][2] = {"id": "empty", "type": "Canvas", "width": 300, "height": 400}
    document["items"][3] = None
    document["items"][4] = "https://library.example/canvas/elsewhere"
    canvases = parse(document).canvases
    assert [canvas.number for canvas in canvases] == [1, 2, 3, 4, 5, 6]
    assert [canvas.reason for canvas in canvases] == [
        "This canvas holds sound, not an image.",
        "This canvas holds video, not an image.",
        NO_IMAGE,
        NO_IMAGE,
        "The manifest only names this canvas and does not say what is on it.",
        "",
    ]
    assert canvases[4].id == "https://library.example/canvas/elsewhere"
    assert image_of(canvases[5]).url == f"{BASE}/iiif/6/full/full/0/default.jpg"


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


def test_an_image_beside_a_text_and_a_film_is_found() -> None:
    bodies = [{"type": "TextualBody", "value": "a film"}, {"id": "film.mp4", "type": "Video"}, IMAGE]
    assert urls_of(parse_body(bodies)) == [IMAGE["id"]]


def test_a_choice_gives_its_default_first() -> None:
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
def test_choices_in_choices_without_end_are_no_image(place: str) -> None:
    for depth, count in ((3, 1), (400, 0)):
        body: dict[str, Any] = build_image("scan")
        for _ in range(depth):
            body = {"type": "Choice", place: body}
        assert len(parse_body(body).images) == count


def test_of_a_part_of_an_image_the_whole_is_taken() -> None:
    region = {"type": "ImageApiSelector", "region": "10,10,100,100"}
    part = {"id": f"{BASE}/iiif/1/10,10,100,100/max/0/default.jpg", "type": "SpecificResource", "selector": region}
    assert image_of(parse_body(part | {"source": IMAGE})).url == IMAGE["id"]
    assert image_of(parse_body(part | {"source": IMAGE["id"]})).url == IMAGE["id"]
    choice = {"type": "Choice", "items": [part | {"source": IMAGE}, build_image("infrared")]}
    assert urls_of(parse_body(choice)) == [IMAGE["id"], f"{BASE}/infrared.jpg"]
    full = {"@id": f"{BASE}/scan.jpg", "@type": "dctypes:Image"}
    assert image_of(parse_resource({"@type": "oa:SpecificResource", "full": full})).url == f"{BASE}/scan.jpg"


def test_of_a_canvas_painted_on_a_canvas_the_images_are_taken() -> None:
    inner = build_manifest_3(BASE, [Scan()])["items"][0]
    assert urls_of(parse_body(inner)) == [f"{BASE}/iiif/1/full/full/0/default.jpg"]


def test_all_images_of_a_canvas_are_known_and_the_first_is_looked_at() -> None:
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
def test_a_painting_is_known_however_it_is_written(motivation: Any) -> None:
    assert parse_body(IMAGE, motivation).image is not None


def test_a_body_that_is_not_painted_is_not_the_canvass_image() -> None:
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
def test_what_is_not_an_image_service_leaves_the_plain_image(service: Any) -> None:
    image = image_of(parse_body({**IMAGE, "service": service}))
    assert image.service is None
    assert image.url == IMAGE["id"]


@pytest.mark.parametrize("named", [SERVICE["id"], {"id": SERVICE["id"]}, {"@id": SERVICE["id"], "@type": "x"}])
def test_a_service_that_is_only_named_is_one_when_the_image_is_asked_of_it(named: Any) -> None:
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
def test_a_service_is_derived_from_an_address_that_asks_for_the_whole_image(request_: str, version: int) -> None:
    image = image_of(parse_body(f"{BASE}/iiif/ms%2F1/{request_}.jpg"))
    assert image.service == ImageService(f"{BASE}/iiif/ms%2F1", version, 0)
    stated = image_of(parse_body({**IMAGE, "id": image.url}))
    # Of an image without a service the pixels are counted, whatever the manifest says.
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
def test_a_service_is_not_derived_where_it_would_not_give_the_same_image(request_: str) -> None:
    image = image_of(parse_body({**IMAGE, "id": f"{BASE}/iiif/1/{request_}"}))
    assert image.service is None


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("info", [True, False])
def test_a_derived_service_spares_bytes_and_without_an_info_json_the_image_comes_as_it_is(
    library: Library, fetcher: Fetcher, version: int, info: bool
) -> None:
    url = Scan(version=version).build_url(library.offer(Scan(1200, 1600, version=version, info=info)))
    image = image_of(parse_body({"id": url, "type": "Image", "width": 999, "height": 999}))
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    asked = "/iiif/1/full/600,/0/" if info else url.removeprefix(library.url)
    assert len(library.paths) == 2
    assert library.paths[1].startswith(asked)


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
def test_an_address_shows_whether_the_image_is_reduced(url: str, reduced: bool) -> None:
    assert CanvasImage(url, None, None, None).is_reduced is reduced


@pytest.mark.parametrize("body", [IMAGE["id"], [IMAGE["id"]], {"@id": IMAGE["id"]}, {"@value": IMAGE["id"]}])
def test_an_image_may_be_given_by_its_address_alone(body: Any) -> None:
    assert image_of(parse_body(body)).url == image_of(parse_resource(body)).url == IMAGE["id"]


def test_an_address_without_its_scheme_is_completed() -> None:
    image = image_of(parse_body({"id": "//host/a.jpg", "type": "Image", "service": {**SERVICE, "id": "//host/iiif/a"}}))
    assert image.url == "https://host/a.jpg"
    assert image.service == ImageService("https://host/iiif/a", 3, 1)


def test_an_image_of_an_unknown_type_is_one_when_it_has_an_image_service() -> None:
    odd = {"id": f"{BASE}/page", "type": "Page"}
    assert parse_body(odd).reason == NO_IMAGE
    assert image_of(parse_body({**odd, "service": SERVICE})).service is not None
    pdf = {"id": f"{BASE}/book.pdf", "type": "Image", "format": "application/pdf", "service": SERVICE}
    assert image_of(parse_body(pdf)).service is not None


def test_old_and_new_names_of_id_and_type_are_read_alike() -> None:
    new, old = parse_body(IMAGE), parse_body({"@id": IMAGE["id"], "@type": ["dctypes:Image"], "width": 300})
    assert image_of(old).url == image_of(new).url


def test_a_list_may_stand_where_one_is_expected_and_the_reverse() -> None:
    document = build_manifest_3(BASE, [Scan()])
    canvas = document["items"][0]
    canvas["items"] = canvas["items"][0]
    canvas["items"]["items"] = canvas["items"]["items"][0]
    canvas["items"]["items"]["body"] = [canvas["items"]["items"]["body"]]
    document["items"] = canvas
    assert image_of(parse(document).canvases[0]).service is not None
    document = build_manifest_2(BASE, [Scan()])
    sequence = document["sequences"] = document["sequences"][0]
    sequence["canvases"] = sequence["canvases"][0]
    sequence["canvases"]["images"] = sequence["canvases"]["images"][0]
    assert image_of(parse(document).canvases[0]).service is not None


def test_canvases_are_found_in_the_first_sequence_that_has_some() -> None:
    document = build_manifest_2(BASE, [Scan()])
    document["sequences"].insert(0, {"@id": "elsewhere"})
    document["sequences"].append({"canvases": ["another", "order"]})
    assert len(parse(document | {"items": []}).canvases) == 1


def test_the_wrappers_of_json_ld_are_taken_off() -> None:
    document = build_manifest_2(BASE, [Scan(300, 400)])
    canvases = document["sequences"][0]["canvases"]
    resource = canvases[0]["images"][0]["resource"]
    resource |= {"@id": {"@value": resource["@id"]}, "width": {"@value": "300", "@type": "xsd:integer"}}
    canvases[0]["images"] = {"@list": canvases[0]["images"]}
    document["sequences"] = {"@set": [{"canvases": {"@list": [canvases]}}]}
    for wrapped in (document, [document], {"@context": "x", "@graph": [{"@type": "sc:Range"}, document]}):
        image = image_of(parse(wrapped).canvases[0])
        assert (image.url, image.width) == (f"{BASE}/iiif/1/full/full/0/default.jpg", 300)


def test_labels_in_any_form_do_no_harm() -> None:
    for label in ({"en": ["Page 1"]}, [{"@value": "f. 1r", "@language": "en"}], None, 7, [[]], "f.\t1r", "\ud800"):
        document = build_manifest_3(BASE, [Scan()])
        for thing in (document, document["items"][0], document["items"][0]["items"][0]["items"][0]["body"]):
            thing |= {"label": label, "summary": label, "metadata": [{"label": label, "value": label}]}
        assert image_of(parse(document).canvases[0]).service is not None


def test_a_label_that_is_not_quite_json_does_no_harm() -> None:
    data = json.dumps(build_manifest_3(BASE, [Scan()]) | {"label": "LABEL"}).encode()
    for label in (b"caf\xe9", b"two\nlines", b"a\ttab"):
        assert len(parse_manifest(data.replace(b"LABEL", label), URL).canvases) == 1


def test_a_level_of_annotations_may_be_missing() -> None:
    document = build_manifest_3(BASE, [Scan()])
    document["items"][0]["items"] = document["items"][0]["items"][0]["items"]
    assert parse(document).canvases[0].image is not None


def test_what_is_kept_in_another_document_is_said_to_be() -> None:
    page = {"id": f"{BASE}/canvas/1/page", "type": "AnnotationPage"}
    canvases = [{"type": "Canvas", "items": [page]}, {"@type": "sc:Canvas", "images": [f"{BASE}/annotation/1"]}]
    for canvas in parse({"type": "Manifest", "items": canvases}).canvases:
        assert canvas.reason == "The manifest keeps what is on this canvas in another document, which is not read."


def test_a_reduced_images_size_is_not_taken_for_the_full_size() -> None:
    reduced = {**IMAGE, "id": f"{BASE}/iiif/1/full/!300,400/0/default.jpg", "service": SERVICE}
    assert image_of(parse_body(reduced)).width is None
    assert image_of(parse_body({**reduced, "service": None})).width is None
    measured = image_of(parse_body({**reduced, "service": {**SERVICE, "width": 3000, "height": 4000}}))
    assert (measured.width, measured.height) == (3000, 4000)


@pytest.mark.parametrize("size", [True, -3, 0, 10**30, float("nan"), float("inf"), "wide", "9" * 5000, [], {}, None])
def test_a_size_that_is_none_reads_as_unknown(size: Any) -> None:
    assert image_of(parse_body({**IMAGE, "width": size})).width is None


@pytest.mark.parametrize("size", [300, 300.0, "300"])
def test_a_size_may_be_written_in_several_ways(size: Any) -> None:
    assert image_of(parse_body({**IMAGE, "width": size})).width == 300


def test_half_a_character_in_an_id_can_still_be_written_to_a_file() -> None:
    canvas = parse_body({"id": f"{BASE}/\ud800.jpg", "type": "Image"})
    assert Manifest("", "", (canvas,)).image_name(canvas) == "\N{REPLACEMENT CHARACTER}.jpg"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html><html>Are you human?</html>", "an HTML page"),
        (b"\n <html>", "an HTML page"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"width": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "which is an object"),
        (b'"manifest"', "which is an object"),
        (b"{}", "has no canvases"),
        (b'{"type": "Manifest", "items": []}', "has no canvases"),
        (b'{"type": "Manifest", "items": [null, 1]}', "has no canvases"),
        (b'{"@type": "sc:Manifest", "sequences": [{"canvases": []}]}', "has no canvases"),
        (b'{"type": "Collection", "items": [{"type": "Manifest"}]}', "is a collection"),
        (b'{"@type": ["sc:Collection"], "manifests": []}', "is a collection"),
        (b'{"@type": "sc:AnnotationList", "resources": []}', "is a IIIF AnnotationList"),
        (b'{"type": "AnnotationPage", "items": [{"body": "x"}]}', "is a IIIF AnnotationPage"),
        (b'{"type": "AnnotationCollection", "first": "x"}', "is a IIIF AnnotationCollection"),
        (b'{"type": "Canvas", "items": [{"items": []}]}', "is a IIIF Canvas"),
        (b'{"type": "Range", "items": [{"type": "Canvas"}]}', "is a IIIF Range"),
        (b'{"type": "a\\nb", "items": []}', "has no canvases"),
    ],
)
def test_what_is_not_a_manifest_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(ManifestError, match=said) as caught:
        parse_manifest(data, URL)
    assert caught.value.message.startswith(URL)


def test_a_manifest_may_begin_with_a_byte_order_mark() -> None:
    document = json.dumps(build_manifest_3(BASE, [Scan()])).encode("utf-8-sig")
    assert len(parse_manifest(document, URL).canvases) == 1


def test_too_many_canvases_are_refused_with_the_setting_to_change() -> None:
    document = build_manifest_2(BASE, [Scan()] * 4)
    assert len(parse(document, max_canvases=4).canvases) == 4
    with pytest.raises(ManifestError, match=r"4 canvases; at most 3 .*MAX_CANVASES"):
        parse(document, max_canvases=3)


def test_the_same_parser_reads_what_comes_over_http(library: Library, fetcher: Fetcher) -> None:
    url = library.offer_manifest([Scan(), Scan()], version=2)
    assert len(parse_manifest(fetcher.fetch_document(url), url).canvases) == 2
    library.answer("/manifest.json", Answer(body="<html>sign in</html>"))
    with pytest.raises(ManifestError, match="HTML page"):
        parse_manifest(fetcher.fetch_document(url), url)


def test_a_document_is_a_manifest_or_a_collection() -> None:
    manifest = json.dumps(build_manifest_3(BASE, [Scan()])).encode()
    assert isinstance(parse_document(manifest, URL), Manifest)
    collection = json.dumps({"type": "Collection", "items": [{"id": URL, "type": "Manifest"}]}).encode()
    assert isinstance(parse_document(collection, URL), Collection)
    with pytest.raises(ManifestError, match="4 canvases"):
        parse_document(json.dumps(build_manifest_2(BASE, [Scan()] * 4)).encode(), URL, max_canvases=3)


def find_listed(document: dict[str, Any]) -> list[str]:
    """Return the ids of the canvases of a well-formed manifest."""
    listed = document.get("items") or document["sequences"][0]["canvases"]
    return [canvas.get("id") or canvas["@id"] for canvas in listed]


def find_members(document: dict[str, Any]) -> list[str]:
    """Return the ids of the manifests of a well-formed collection that holds no other whole."""
    members = document.get("manifests") or document.get("items") or []
    return [member.get("id") or member["@id"] for member in members]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real manifests of ../shared")
@pytest.mark.parametrize("path", sorted(REAL.rglob("*.json")), ids=lambda path: path.stem)
def test_real_documents_are_read_as_their_libraries_mean_them(path: Path) -> None:
    data = path.read_bytes()
    document = json.loads(data)
    kind = str(document.get("type") or document.get("@type")).removeprefix("sc:")
    if kind not in ("Manifest", "Collection"):
        with pytest.raises(ManifestError, match=f"is a IIIF {kind}"):
            parse_document(data, URL)
        return
    read = parse_document(data, URL)
    if isinstance(read, Collection):
        assert list(read.manifests) == find_members(document)
        return
    assert [canvas.id for canvas in read.canvases] == find_listed(document)
    assert all(canvas.image or canvas.reason.startswith("This canvas holds") for canvas in read.canvases)
