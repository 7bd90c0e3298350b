import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT
from app.errors import ManifestError
from app.iiif.fetch import Fetcher
from app.iiif.manifest import Canvas, CanvasImage, Manifest, build_manifest_ref, parse_manifest
from tests.library import Answer, Library, Scan, build_manifest_2, build_manifest_3

URL = "https://library.example/ms/manifest.json"
BASE = "https://library.example"
REAL = ROOT.parent / "shared" / "manifests"
IMAGE = {"id": f"{BASE}/scan.png", "type": "Image", "width": 300, "height": 400}
SERVICE = {"id": f"{BASE}/iiif/1", "type": "ImageService3", "profile": "level1"}


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
    document["items"][2] = {"id": "empty", "type": "Canvas"}
    document["items"][3] = None
    document["items"][4] = "https://library.example/canvas/elsewhere"
    canvases = parse(document).canvases
    assert [canvas.number for canvas in canvases] == [1, 2, 3, 4, 5, 6]
    assert [canvas.reason for canvas in canvases] == [
        "This canvas holds sound, not an image.",
        "This canvas holds video, not an image.",
        *["The manifest has no image on this canvas."] * 3,
        "",
    ]
    assert canvases[4].id == "https://library.example/canvas/elsewhere"
    assert image_of(canvases[5]).url == f"{BASE}/iiif/6/full/full/0/default.jpg"


def test_a_choice_of_sounds_is_said_to_be_sound() -> None:
    assert "sound" in parse_body({"type": "Choice", "items": [{"id": "a.mp3", "type": "Sound"}]}).reason


def test_a_moving_image_is_no_image() -> None:
    assert "video" in parse_resource({"@id": f"{BASE}/film.mp4", "@type": "dctypes:MovingImage"}).reason


def test_of_a_presentation_2_choice_the_default_is_taken() -> None:
    item = {"@id": f"{BASE}/infrared.jpg", "@type": "dctypes:Image"}
    default = {"@id": f"{BASE}/visible.jpg", "@type": "dctypes:Image"}
    canvas = parse_resource({"@type": "oa:Choice", "item": [item, "rdf:nil"], "default": default})
    assert image_of(canvas).url == f"{BASE}/visible.jpg"


def test_of_a_choice_without_default_the_first_item_is_taken() -> None:
    items = [{"@id": f"{BASE}/{name}.jpg", "@type": "dctypes:Image"} for name in ("visible", "infrared")]
    assert image_of(parse_resource({"@type": "oa:Choice", "item": items})).url == f"{BASE}/visible.jpg"
    items = [{"id": f"{BASE}/{name}.jpg", "type": "Image"} for name in ("visible", "infrared")]
    assert image_of(parse_body({"type": "Choice", "items": items})).url == f"{BASE}/visible.jpg"


def test_of_a_specific_resource_the_source_is_taken() -> None:
    region = {"type": "ImageApiSelector", "region": "10,10,100,100"}
    canvas = parse_body({"id": "x", "type": "SpecificResource", "source": IMAGE, "selector": region})
    assert image_of(canvas).url == IMAGE["id"]
    full = {"@id": f"{BASE}/scan.jpg", "@type": "dctypes:Image"}
    assert image_of(parse_resource({"@type": "oa:SpecificResource", "full": full})).url == f"{BASE}/scan.jpg"


def test_of_several_images_on_a_canvas_the_first_is_taken() -> None:
    assert image_of(parse_body([IMAGE, {**IMAGE, "id": "second"}])).url == IMAGE["id"]


def test_a_body_that_is_not_painted_is_not_the_canvass_image() -> None:
    assert parse_body(IMAGE, motivation="supplementing").image is None
    assert parse_body(IMAGE, motivation=["painting"]).image is not None
    assert parse_body(IMAGE, motivation=None).image is not None


@pytest.mark.parametrize("service", [SERVICE, [SERVICE], [{"id": "x", "profile": "http://auth"}, "x", SERVICE]])
def test_an_image_service_is_found_as_an_object_and_in_a_list(service: Any) -> None:
    found = image_of(parse_body({**IMAGE, "service": service})).service
    assert found is not None
    assert found.id == SERVICE["id"]


@pytest.mark.parametrize("service", ["https://library.example/iiif/1", None, 7, {"@id": f"{BASE}/auth/login"}])
def test_what_is_not_an_image_service_leaves_the_plain_image(service: Any) -> None:
    image = image_of(parse_body({**IMAGE, "service": service}))
    assert image.service is None
    assert image.url == IMAGE["id"]


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


def test_canvases_are_found_in_the_sequence_that_has_some() -> None:
    document = build_manifest_2(BASE, [Scan()])
    document["sequences"].insert(0, {"@id": "elsewhere"})
    assert len(parse(document | {"items": []}).canvases) == 1


def test_a_reduced_images_size_is_not_taken_for_the_full_size() -> None:
    reduced = {**IMAGE, "id": f"{BASE}/iiif/1/full/!300,400/0/default.jpg", "service": SERVICE}
    assert image_of(parse_body(reduced)).width is None
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


ODDITIES: list[Any] = [None, [], {}, 1, -1, 0.5, True, "x", "", "https://[", "\ud800", [[]], [[[{}]]], {"id": []}]
ODDITIES += [float("nan"), 10**400]


def mangle(document: Any, chance: random.Random) -> Any:
    """Return a copy with one to three of its values replaced, dropped or wrapped."""
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        waiting = [document]
        while waiting:
            thing = waiting.pop()
            keys = list(thing) if isinstance(thing, dict) else range(len(thing))
            places += [(thing, key) for key in keys]
            waiting += [thing[key] for key in keys if isinstance(thing[key], dict | list)]
        if not places:
            break
        thing, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                del thing[key]
            case 1:
                thing[key] = [thing[key]]
            case 2:
                thing[key] = {"items": thing[key], "default": thing[key], "source": thing[key]}
            case _:
                thing[key] = copy.deepcopy(chance.choice(ODDITIES))
    return document


@pytest.mark.parametrize("build", [build_manifest_2, build_manifest_3])
def test_a_mangled_manifest_is_read_or_refused_and_nothing_else(build: Any) -> None:
    chance = random.Random(20)
    whole = build(BASE, [Scan(version=2), Scan(version=3)])
    for _ in range(400):
        document = mangle(whole, chance)
        data = json.dumps(document).encode()
        try:
            manifest = parse_manifest(data, URL)
        except ManifestError:
            continue
        assert [canvas.number for canvas in manifest.canvases] == list(range(1, len(manifest.canvases) + 1))
        for canvas in manifest.canvases:
            assert (canvas.image is None) == bool(canvas.reason)
            line = f"{canvas.number} {manifest.image_name(canvas)} {canvas.id}"
            assert line.encode()


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real manifests of ../shared")
@pytest.mark.parametrize("path", sorted(REAL.rglob("*.json")), ids=lambda path: path.stem)
def test_real_manifests_are_read_as_their_libraries_mean_them(path: Path) -> None:
    document = json.loads(path.read_bytes())
    kind = str(document.get("type") or document.get("@type"))
    if not kind.endswith("Manifest"):
        with pytest.raises(ManifestError):
            parse_manifest(path.read_bytes(), URL)
        return
    listed = document.get("items") or document["sequences"][0]["canvases"]
    canvases = parse_manifest(path.read_bytes(), URL).canvases
    assert [canvas.id for canvas in canvases] == [canvas.get("id") or canvas["@id"] for canvas in listed]
    seen = [canvas.image is not None or "sound" in canvas.reason or "video" in canvas.reason for canvas in canvases]
    assert all(seen)
