import json
from typing import Any

import pytest

from app.exports.document import ExportedDocument
from app.exports.group_manifests import format_archive
from app.exports.manifest import format_manifest
from app.exports.open_annotations import format_layer
from app.exports.web_annotations import build_target, format_collection
from app.storage import JobFolder, write_atomic
from tests.support.archives import make_image, open_zip
from tests.support.exported_results import ADDRESS, BASE, MANIFEST, PAGES, SOURCE, load_result, save_result
from tests.support.manifests import parse_manifest


def test_annotations_are_tags_on_regions_of_the_canvas(document: ExportedDocument) -> None:
    first, *_ = json.loads(format_collection(document))["items"]
    annotation, corner = first["items"]
    assert annotation["target"] == f"{BASE}/canvas/1#xywh=50,100,150,200"
    assert corner["target"].endswith("#xywh=450,350,50,50"), "half a canvas, and not beyond it"
    assert annotation["motivation"] == "tagging"
    assert [body["value"] for body in annotation["body"]] == ["illustration", "confidence 0.93"]


def test_an_empty_page_has_annotations_without_items_a_failed_one_none(document: ExportedDocument) -> None:
    collection = json.loads(format_collection(document))
    assert [(page["id"], len(page["items"])) for page in collection["items"]] == [
        (f"{ADDRESS}/annotations/1", 2),
        (f"{ADDRESS}/annotations/2", 0),
        (f"{ADDRESS}/annotations/4", 1),
    ]
    assert collection["total"] == 3


def test_the_ids_of_annotations_are_unique(document: ExportedDocument) -> None:
    manifest = format_manifest(document)
    ids = list_ids(json.loads(manifest)["items"])
    assert len(ids) == len(set(ids))


def list_ids(value: Any) -> list[str]:
    """Return the IDs of all objects in a JSON value."""
    if isinstance(value, list):
        return [found for item in value for found in list_ids(item)]
    if not isinstance(value, dict):
        return []
    own = [value["id"]] if "id" in value else []
    return own + [found for item in value.values() for found in list_ids(item)]


def test_a_canvas_url_with_a_fragment_is_the_source_of_a_selector() -> None:
    target = build_target("https://a.example/m#c1", (1, 2, 3, 4))
    assert isinstance(target, dict)
    assert (target["source"], target["selector"]["value"]) == ("https://a.example/m#c1", "xywh=1,2,3,4")


def test_annotation_lists_of_version_2_have_the_same_regions(document: ExportedDocument) -> None:
    layer = json.loads(format_layer(document))
    first, empty, _ = layer["otherContent"]
    assert first["@type"] == "sc:AnnotationList"
    assert [note["on"] for note in first["resources"]] == [
        f"{BASE}/canvas/1#xywh=50,100,150,200",
        f"{BASE}/canvas/1#xywh=450,350,50,50",
    ]
    assert first["resources"][0]["resource"][0] == {"@type": "oa:Tag", "chars": "illustration"}
    assert empty["resources"] == []


def test_a_canvas_with_a_fragment_has_a_selector_in_version_2(folder: JobFolder) -> None:
    canvas = MANIFEST["items"][0] | {"id": f"{BASE}/m#c1"}
    save_result(folder, PAGES[:1], MANIFEST | {"items": [canvas]})
    note, _ = json.loads(format_layer(load_result(folder)))["otherContent"][0]["resources"]
    assert note["on"] == {
        "@type": "oa:SpecificResource",
        "full": f"{BASE}/m#c1",
        "selector": {"@type": "oa:FragmentSelector", "value": "xywh=50,100,150,200"},
    }


def test_the_manifest_keeps_canvases_images_and_descriptions(document: ExportedDocument) -> None:
    data = format_manifest(document)
    manifest = json.loads(data)
    assert manifest["label"] == MANIFEST["label"]
    assert manifest["rights"] == "http://creativecommons.org/licenses/by/4.0/", "the only form that is permitted"
    assert manifest["requiredStatement"] == MANIFEST["requiredStatement"]
    assert manifest["metadata"][0] == {"label": {"en": ["Author"]}, "value": {"none": ["N. N."]}}
    assert manifest["seeAlso"][0]["id"] == SOURCE
    read = parse_manifest(data.encode(), SOURCE)
    assert [canvas.id for canvas in read.canvases][1] == f"{BASE}/canvas/2"
    assert [canvas.image.url for canvas in read.canvases if canvas.image] == [
        *(f"{BASE}/{number}.jpg" for number in (1, 2, 3)),
        f"{ADDRESS}/pages/4.jpg",
    ]
    assert read.canvases[0].label == {"en": ["fol. 1r"]}
    assert read.canvases[0].image
    assert read.canvases[0].image.service
    assert read.canvases[0].image.service.id == f"{BASE}/iiif/1"


def test_a_canvas_of_another_size_than_its_image_becomes_one_of_the_job(document: ExportedDocument) -> None:
    """Mirador takes canvas units for image pixels."""
    first, *_ = json.loads(format_manifest(document))["items"]
    assert (first["id"], first["width"], first["height"]) == (f"{ADDRESS}/canvas/1", 1000, 800)
    assert first["annotations"][0]["items"][0]["target"] == f"{ADDRESS}/canvas/1#xywh=100,200,300,400"


def test_a_cached_image_has_a_canvas_of_its_own_size(folder: JobFolder) -> None:
    save_result(folder, manifest=None)
    folder.manifest.unlink()
    folder.pages.save({1: {"file": "1.image"}})
    write_atomic(folder.path / "images" / "1.image", make_image(size=(250, 200)))
    first, *_ = json.loads(format_manifest(load_result(folder)))["items"]
    body = first["items"][0]["items"][0]["body"]
    assert (first["width"], first["height"], body["width"], body["height"]) == (250, 200, 250, 200)
    assert first["annotations"][0]["items"][0]["target"] == f"{ADDRESS}/canvas/1#xywh=25,50,75,100"


def test_a_failed_canvas_has_a_summary_in_place_of_annotations(document: ExportedDocument) -> None:
    first, empty, failed, _ = json.loads(format_manifest(document))["items"]
    assert len(first["annotations"][0]["items"]) == 2
    assert empty["annotations"][0]["items"] == []
    assert "annotations" not in failed
    assert "404" in failed["summary"]["en"][0]


def test_a_manifest_of_version_2_keeps_its_descriptions(folder: JobFolder) -> None:
    service = {"@context": "http://iiif.io/api/image/2/context.json", "@id": f"{BASE}/iiif/1", "profile": "level1"}
    resource = {"@id": f"{BASE}/1.jpg", "@type": "dctypes:Image", "width": 1000, "height": 800, "service": service}
    canvas = {"@id": f"{BASE}/c1", "label": "1r", "width": 500, "height": 400, "images": [{"resource": resource}]}
    described = {
        "label": [{"@value": "Livre", "@language": "fr"}, "Book"],
        "attribution": "A library",
        "license": "https://library.example/terms",
        "metadata": [{"label": "Date", "value": ["1499", "1500"]}, {"label": 7}, "odd"],
        "viewingDirection": "right-to-left",
    }
    manifest = {"@type": "sc:Manifest", "@id": SOURCE, **described, "sequences": [{"canvases": [canvas]}]}
    save_result(folder, PAGES[:1], manifest)
    read = json.loads(format_manifest(load_result(folder)))
    assert read["label"] == {"fr": ["Livre"], "none": ["Book"]}
    assert read["requiredStatement"]["value"] == {"none": ["A library"]}
    assert read["metadata"][0] == {"label": {"none": ["Date"]}, "value": {"none": ["1499", "1500"]}}
    assert read["metadata"][1]["value"] == {"none": ["https://library.example/terms"]}
    assert (read["viewingDirection"], "rights" in read) == ("right-to-left", False)
    (painting,) = read["items"][0]["items"][0]["items"]
    assert painting["body"]["service"] == [
        {"@id": f"{BASE}/iiif/1", "@type": "ImageService2", "profile": "http://iiif.io/api/image/2/level1.json"}
    ]


@pytest.mark.parametrize("odd", [7, [], {"en": 5}, {"@value": {}}, {"\ud800": ["x"]}, [None], "x" * 10**6])
def test_an_odd_description_gives_a_valid_manifest(folder: JobFolder, odd: Any) -> None:
    save_result(folder, manifest=MANIFEST | dict.fromkeys(("label", "metadata", "rights", "requiredStatement"), odd))
    manifest = json.loads(format_manifest(load_result(folder)))
    assert all(isinstance(value, list) and value for value in manifest["label"].values())
    assert manifest["label"]


def test_a_derived_service_is_not_offered_to_viewers(folder: JobFolder) -> None:
    body = {"id": f"{BASE}/iiif/1/full/full/0/default.jpg", "type": "Image"}
    canvas = {"id": f"{BASE}/c1", "type": "Canvas", "items": [{"items": [{"motivation": "painting", "body": body}]}]}
    save_result(folder, PAGES[:1], {"type": "Manifest", "items": [canvas]})
    (read,) = json.loads(format_manifest(load_result(folder)))["items"]
    found = read["items"][0]["items"][0]["body"]
    assert found == body | {"format": "image/jpeg", "width": 1000, "height": 800}


def test_each_image_of_a_group_is_a_canvas_with_its_region() -> None:
    members = [
        {
            "document": doc_id,
            "name": "1",
            "url": f"{BASE}/{doc_id}/1.jpg",
            "region": region,
            "partner": {"document": "other", "name": "2"},
            "verdict": "same",
            "probability": 0.98,
        }
        for doc_id, region in (("a", [1, 2, 30, 40]), ("b", None))
    ]
    groups = [{"group": 1, "size": 2, "members": members}]
    files = open_zip(format_archive(groups, {("a", "1"): (200, 100), ("b", "1"): (20, 10)}, ADDRESS))
    manifest = json.loads(files["group-00001.json"])
    first, second = parse_manifest(files["group-00001.json"], "").canvases
    assert ((first.width, first.height), (second.width, second.height)) == ((200, 100), (20, 10))
    assert first.image
    assert first.image.url == f"{BASE}/a/1.jpg"
    one, other = manifest["items"]
    assert one["annotations"][0]["items"][0]["target"] == f"{ADDRESS}/groups/1/canvas/1#xywh=1,2,30,40"
    assert "annotations" not in other


def test_a_client_can_follow_the_pages_of_annotations(document: ExportedDocument) -> None:
    collection = json.loads(format_collection(document))
    pages = {page["id"]: page for page in collection["items"]}
    found, following = [], collection["first"]
    while following:
        found.append(following["id"])
        following = pages[following["id"]].get("next")
    assert found == [*pages]
    assert collection["last"]["id"] == found[-1]


def test_a_result_without_pages_has_no_first_page_of_annotations(folder: JobFolder) -> None:
    save_result(folder, PAGES[2:3])
    assert {"first", "last", "total"}.isdisjoint(json.loads(format_collection(load_result(folder))))
