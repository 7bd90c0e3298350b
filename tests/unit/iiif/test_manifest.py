import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import ManifestError
from app.iiif.collection import Collection
from app.iiif.manifest import Manifest, build_manifest_ref, parse_document
from tests.support.library import Scan, build_manifest_2, build_manifest_3
from tests.support.manifests import (
    BASE,
    IMAGE,
    NO_IMAGE,
    REAL,
    SERVICE,
    URL,
    image_of,
    parse,
    parse_body,
    parse_manifest,
)


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
        ("https://library.example/iipsrv.fcgi?IIIF=/a/wit1_man191_0009.jpg", "wit1_man191_0009.jpg"),
        ("https://library.example/iipsrv.fcgi?IIIF=wit1_man191_0009.jpg", "wit1_man191_0009.jpg"),
        ("https://library.example/iiif/1?name=/a/0009.jpg", "ms_0001.jpg"),
    ],
)
def test_image_name_is_taken_from_the_image_id(image_id: str, name: str) -> None:
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
def test_image_name_without_a_service_is_taken_from_the_url(url: str, name: str) -> None:
    canvas = parse_body({"id": url, "type": "Image"})
    assert Manifest("", "", (canvas,)).image_name(canvas) == name


@pytest.mark.parametrize("very_long", [f"{BASE}/{'x' * 1_000_000}", f"{BASE}/iiif/{'x' * 1_000_000}/manifest.json"])
def test_names_and_ids_are_truncated(very_long: str) -> None:
    document = build_manifest_3(BASE, [Scan(), Scan()])
    document["id"] = document["items"][0]["id"] = very_long
    document["items"][0]["items"][0]["items"][0]["body"] = {"id": f"{BASE}/{'x' * 1000}.jpg", "type": "Image"}
    manifest = parse(document)
    names = [manifest.image_name(canvas) for canvas in manifest.canvases]
    assert len(manifest.ref) <= 200
    assert len(manifest.id) == len(manifest.canvases[0].id) == 2000
    assert [len(name) <= 200 for name in names] == [True, True]
    assert [name[-9:] for name in names] == ["_0001.jpg", "_0002.jpg"]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("build", "level", "ref"), [(build_manifest_2, 0, "ms-2"), (build_manifest_3, 2, "ms-3")])
def test_both_presentation_versions_are_parsed(version: int, build: Callable[..., Any], level: int, ref: str) -> None:
    manifest = parse(build(BASE, [Scan(300, 400, version=version, level=level), Scan(version=version)]))
    assert [canvas.number for canvas in manifest.canvases] == [1, 2]
    assert manifest.canvases[1].id == f"{BASE}/canvas/2"
    assert manifest.ref == ref
    image = image_of(manifest.canvases[0])
    assert (image.width, image.height) == (300, 400)
    assert image.service is not None
    assert (image.service.id, image.service.version, image.service.level) == (f"{BASE}/iiif/1", version, level)


def test_a_canvas_without_an_image_keeps_its_number_and_a_reason() -> None:
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
        "The manifest gives only the ID of this canvas, not its content.",
        "",
    ]
    assert canvases[4].id == "https://library.example/canvas/elsewhere"
    assert image_of(canvases[5]).url == f"{BASE}/iiif/6/full/full/0/default.jpg"


def test_id_and_type_are_read_with_and_without_an_at_sign() -> None:
    new, old = parse_body(IMAGE), parse_body({"@id": IMAGE["id"], "@type": ["dctypes:Image"], "width": 300})
    assert image_of(old).url == image_of(new).url


def test_single_values_and_lists_are_interchangeable() -> None:
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


def test_canvases_are_read_from_the_first_sequence_with_canvases() -> None:
    document = build_manifest_2(BASE, [Scan()])
    document["sequences"].insert(0, {"@id": "elsewhere"})
    document["sequences"].append({"canvases": ["another", "order"]})
    assert len(parse(document | {"items": []}).canvases) == 1


def test_the_viewing_direction_of_the_sequence_comes_first() -> None:
    document = build_manifest_2(BASE, [Scan()])
    document["sequences"][0]["viewingDirection"] = "right-to-left"
    assert parse(document).description["viewingDirection"] == "right-to-left"
    assert parse(document | {"viewingDirection": "left-to-right"}).description["viewingDirection"] == "right-to-left"
    del document["sequences"][0]["viewingDirection"]
    assert "viewingDirection" not in parse(document).description


def test_json_ld_wrappers_are_removed() -> None:
    document = build_manifest_2(BASE, [Scan(300, 400)])
    canvases = document["sequences"][0]["canvases"]
    resource = canvases[0]["images"][0]["resource"]
    resource |= {"@id": {"@value": resource["@id"]}, "width": {"@value": "300", "@type": "xsd:integer"}}
    canvases[0]["images"] = {"@list": canvases[0]["images"]}
    document["sequences"] = {"@set": [{"canvases": {"@list": [canvases]}}]}
    for wrapped in (document, [document], {"@context": "x", "@graph": [{"@type": "sc:Range"}, document]}):
        image = image_of(parse(wrapped).canvases[0])
        assert (image.url, image.width) == (f"{BASE}/iiif/1/full/full/0/default.jpg", 300)


@pytest.mark.parametrize("label", [{"@value": "1r"}, [{"@value": "1r", "@language": None}], "1r"])
def test_a_label_without_a_language_has_the_language_none(label: Any) -> None:
    document = build_manifest_2(BASE, [Scan()])
    document["sequences"][0]["canvases"][0]["label"] = label
    assert parse(document).canvases[0].label == {"none": ["1r"]}


def test_malformed_labels_are_ignored() -> None:
    for label in ({"en": ["Page 1"]}, [{"@value": "f. 1r", "@language": "en"}], None, 7, [[]], "f.\t1r", "\ud800"):
        document = build_manifest_3(BASE, [Scan()])
        for thing in (document, document["items"][0], document["items"][0]["items"][0]["items"][0]["body"]):
            thing |= {"label": label, "summary": label, "metadata": [{"label": label, "value": label}]}
        assert image_of(parse(document).canvases[0]).service is not None


def test_invalid_json_in_a_label_is_accepted() -> None:
    data = json.dumps(build_manifest_3(BASE, [Scan()]) | {"label": "LABEL"}).encode()
    for label in (b"caf\xe9", b"two\nlines", b"a\ttab"):
        assert len(parse_manifest(data.replace(b"LABEL", label), URL).canvases) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!DOCTYPE html><html>Are you human?</html>", "an HTML page"),
        (b"\n <html>", "an HTML page"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"width": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "a manifest is a JSON object"),
        (b'"manifest"', "a manifest is a JSON object"),
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
def test_other_documents_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason) as caught:
        parse_document(data, URL)
    assert caught.value.message.startswith(URL)


def test_a_manifest_may_begin_with_a_byte_order_mark() -> None:
    document = json.dumps(build_manifest_3(BASE, [Scan()])).encode("utf-8-sig")
    assert len(parse_manifest(document, URL).canvases) == 1


def test_too_many_canvases_are_refused_with_the_setting_to_change() -> None:
    document = build_manifest_2(BASE, [Scan()] * 4)
    assert len(parse(document, max_canvases=4).canvases) == 4
    with pytest.raises(ManifestError, match=r"4 canvases; at most 3 .*MAX_CANVASES"):
        parse(document, max_canvases=3)


def test_a_document_is_a_manifest_or_a_collection() -> None:
    manifest = json.dumps(build_manifest_3(BASE, [Scan()])).encode()
    assert isinstance(parse_document(manifest, URL), Manifest)
    collection = json.dumps({"type": "Collection", "items": [{"id": URL, "type": "Manifest"}]}).encode()
    assert isinstance(parse_document(collection, URL), Collection)
    with pytest.raises(ManifestError, match="4 canvases"):
        parse_document(json.dumps(build_manifest_2(BASE, [Scan()] * 4)).encode(), URL, max_canvases=3)


def find_listed(document: dict[str, Any]) -> list[str]:
    """Return the IDs of the canvases of a well-formed manifest."""
    listed = document.get("items") or document["sequences"][0]["canvases"]
    return [canvas.get("id") or canvas["@id"] for canvas in listed]


def find_members(document: dict[str, Any]) -> list[str]:
    """Return the IDs of the manifests of a well-formed collection without embedded collections."""
    members = document.get("manifests") or document.get("items") or []
    return [member.get("id") or member["@id"] for member in members]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real manifests of ../shared")
@pytest.mark.parametrize("path", sorted(REAL.rglob("*.json")), ids=lambda path: path.stem)
def test_real_documents_are_parsed_completely(path: Path) -> None:
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
