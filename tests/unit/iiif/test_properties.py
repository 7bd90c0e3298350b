"""Property tests of the parsers with mutated and damaged documents.

Each test runs 200 examples, or 10,000 with ``HYPOTHESIS_PROFILE=nightly``.
"""

import json
import os
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config import ROOT
from app.errors import FetchError, ManifestError
from app.iiif.canvas import Canvas
from app.iiif.collection import Collection
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo, parse_image_info
from app.iiif.image_requests import build_requests, choose_size
from app.iiif.manifest import Manifest, parse_document
from tests.support.library import Scan, build_manifest_2, build_manifest_3

NORMAL = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
settings.register_profile("normal", NORMAL)
settings.register_profile("nightly", NORMAL, max_examples=10_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))

URL = "https://library.example/ms/manifest.json"
BASE = "https://library.example"
REAL = ROOT.parent / "shared" / "manifests"
LARGEST_REAL = 20_000  # bytes; larger documents only repeat the same structures
SERVICE = ImageService(f"{BASE}/iiif/1", 2, 1)


def build_odd_manifest_2() -> dict[str, Any]:
    """Return a Presentation 2 manifest with a Choice, a part of an image, a video and a canvas given by its ID."""
    document = build_manifest_2(BASE, [Scan(version=1), Scan(), Scan(level=0), Scan()])
    canvases = document["sequences"][0]["canvases"]
    resources = [canvas["images"][0]["resource"] for canvas in canvases]
    choice = {"@type": "oa:Choice", "default": resources[0], "item": [resources[1], "rdf:nil"]}
    part = {"@type": "oa:SpecificResource", "full": resources[1], "selector": {"region": "1,1,9,9"}}
    canvases[0]["images"][0]["resource"] = choice
    canvases[1]["images"][0]["resource"] = part
    canvases[2]["images"].append({"resource": {"@id": f"{BASE}/film.mp4", "@type": "dctypes:MovingImage"}})
    canvases[3] = f"{BASE}/canvas/4"
    return document | {"label": [{"@value": "Ms. 2", "@language": "en"}], "sequences": {"@list": document["sequences"]}}


def build_odd_manifest_3() -> dict[str, Any]:
    """Return a Presentation 3 manifest with a Choice, a part of an image, a sound and shared services."""
    document = build_manifest_3(BASE, [Scan(version=3), Scan(version=3), Scan(version=2), Scan(version=1)])
    bodies = [canvas["items"][0]["items"][0]["body"] for canvas in document["items"]]
    annotations = [canvas["items"][0]["items"][0] for canvas in document["items"]]
    annotations[0]["body"] = {"type": "Choice", "items": [bodies[0], bodies[1], f"{BASE}/scan.jpg"]}
    annotations[1]["body"] = {"type": "SpecificResource", "source": bodies[1], "selector": {"rotation": "90"}}
    annotations[2]["body"] = {"id": f"{BASE}/speech.mp3", "type": "Sound", "format": "audio/mp3", "duration": 9.5}
    annotations[3]["body"] = [bodies[3] | {"service": bodies[3]["service"][0]["@id"]}, bodies[0]]
    document["items"][0] |= {"width": 1200, "height": 1600, "placeholderCanvas": document["items"][1]}
    return document | {"label": {"en": ["Ms. 3"]}, "services": bodies[3]["service"]}


def build_canvas(name: str) -> dict[str, Any]:
    """Return a Presentation 3 canvas with the required properties only."""
    service = {"id": f"{BASE}/iiif/{name}", "type": "ImageService2", "profile": "level0"}
    body = {"id": f"{BASE}/{name}", "type": "Image", "service": service}
    return {"type": "Canvas", "items": [{"items": [{"body": body}]}]}


def build_collection_2() -> dict[str, Any]:
    members = [{"@id": f"{BASE}/ms/{name}", "@type": "sc:Manifest"} for name in "ab"]
    inner = {"@id": f"{BASE}/inner", "@type": "sc:Collection", "manifests": members, "first": f"{BASE}/page/1"}
    whole = {"@id": f"{BASE}/top", "@type": "sc:Collection", "collections": [inner, f"{BASE}/other"]}
    return whole | {"members": members, "manifests": members, "next": {"@id": f"{BASE}/page/2"}}


def build_collection_3() -> dict[str, Any]:
    members = [{"id": f"{BASE}/ms/{name}", "type": "Manifest"} for name in "ab"]
    inner = {
        "id": f"{BASE}/inner",
        "type": "Collection",
        "items": [*members, {"id": f"{BASE}/c", "type": "Collection"}],
    }
    return {"id": f"{BASE}/top", "type": "Collection", "items": [inner, *members]}


def load_real() -> list[Any]:
    """Return the real documents next to the repository, if there are any."""
    paths = sorted(REAL.rglob("*.json")) if REAL.is_dir() else []
    return [json.loads(path.read_bytes()) for path in paths if path.stat().st_size < LARGEST_REAL]


def build_info(version: int) -> dict[str, Any]:
    scan = Scan(4000, 6000, version=version, level=version - 1, sizes=((250, 375), (1000, 1500)))
    return scan.build_info(SERVICE.id) | {
        "profile": [f"http://iiif.io/api/image/2/level{version - 1}.json", {"maxWidth": 3000, "supports": ["sizeByW"]}],
        "maxArea": 9_000_000,
        "maxHeight": 5000,
        "tiles": [{"scaleFactors": [1, 2, 4]}],
    }


WRITTEN = [build_odd_manifest_2(), build_odd_manifest_3(), build_collection_2(), build_collection_3()]
WRITTEN += [build_manifest_2(BASE, [Scan()]), {"type": "Manifest", "items": [build_canvas("scan.jpg"), None, "x"]}]
INFOS = [build_info(version) for version in (1, 2, 3)]
KEYS = ["id", "@id", "type", "@type", "items", "sequences", "canvases", "images", "resource", "body", "source", "full"]
KEYS += ["item", "default", "service", "services", "profile", "@context", "@value", "@set", "@list", "@graph", "format"]
KEYS += ["motivation", "width", "height", "sizes", "maxWidth", "maxHeight", "maxArea", "supports", "extraFeatures"]
KEYS += ["first", "next", "members", "manifests", "collections", "label"]
WORDS = ["Manifest", "sc:Collection", "Canvas", "oa:Choice", "Image", "Video", "SpecificResource", "painting", "level0"]
WORDS += ["ImageService3", "image/jpeg", "application/pdf", "manifest", "rdf:nil", "7", "", " ", "\n", "\ud800", "\x00"]
WORDS += ["https://[", "//host/a.jpg", f"{BASE}/1/full/full/0/default.jpg", f"{BASE}/a\u2028b.jpg/full/!9,9/0/native"]
TELLING = ["id", "@id", "type", "@type", "width", "height", "profile", "maxWidth", "maxHeight", "maxArea"]
PIECES = [
    "\ud800",
    "\n",
    "\r.jpg",
    "\u2028",
    "\x00",
    " ",
    "[",
    "https://[",
    ".jpg",
    "manifest",
    "Collection",
    "{}",
    ".",
]
HOLDERS = ["items", "source", "default", "item", "full", "body", "resource", "collections", "members", "first", "@set"]
NOISE = [b"[" * 2000, b'{"id":' * 2000, b"NaN", b"1e999", b"9" * 5000, b"\xef\xbb\xbf", b"\xff\xfe", b'"\\ud800"']

numbers = st.one_of(st.integers(-3, 9000), st.integers(), st.floats(), st.just(10**400), st.sampled_from([0, 1e999]))
texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=8), st.text(st.characters(codec=None), max_size=3))
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=3),
    max_leaves=6,
)


def find_places(document: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    places, waiting = [], [document]
    while waiting:
        thing = waiting.pop()
        keys = list(thing) if isinstance(thing, dict) else range(len(thing))
        places += [(thing, key) for key in keys]
        waiting += [thing[key] for key in keys if isinstance(thing[key], dict | list)]
    return places


def copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def corrupt(draw: st.DrawFn, value: Any) -> Any:
    """Draw a malformed variant of a value that passes superficial checks."""
    if isinstance(value, str):
        odd = draw(st.sampled_from(PIECES))
        return draw(st.sampled_from([value + odd, odd + value, odd, value.replace("/", odd)]))
    return draw(numbers) if isinstance(value, int) else draw(values)


def mutate(draw: st.DrawFn, holder: list[Any]) -> None:
    """Change one value of the document inside ``holder``, a list with one element."""
    places = find_places(holder)
    thing, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(["corrupt", "replace", "delete", "wrap", "rename", "double", "move"])):
        case "corrupt":
            thing, key = draw(st.sampled_from([place for place in places if place[1] in TELLING] or places))
            thing[key] = corrupt(draw, thing[key])
        case "replace":
            thing[key] = draw(values)
        case "delete" if thing is not holder:
            del thing[key]
        case "wrap":
            thing[key] = draw(st.sampled_from([[thing[key]], {"@set": thing[key]}, {"@value": thing[key]}]))
        case "rename" if isinstance(thing, dict):
            thing[draw(st.sampled_from(KEYS))] = thing.pop(key)
        case "double":
            thing[key] = [thing[key], copy(thing[key])]
        case "move":
            other, place = draw(st.sampled_from(places))
            other[place] = copy(thing[key])


@st.composite
def mutated(draw: st.DrawFn, documents: list[Any]) -> bytes:
    """Draw the bytes of a document with a few changes."""
    holder = [copy(draw(st.sampled_from(documents)))]
    for _ in range(draw(st.integers(1, 8))):
        mutate(draw, holder)
    return json.dumps(holder[0]).encode()


@st.composite
def nested(draw: st.DrawFn, documents: list[Any]) -> bytes:
    """Draw the bytes of a document in which one value is deeply nested in objects."""
    holder = [copy(draw(st.sampled_from(documents)))]
    thing, key = draw(st.sampled_from(find_places(holder)))
    inner, thing[key] = json.dumps(thing[key]), "HERE"
    depth = draw(st.sampled_from([2, 8, 30, 400, 800]))
    whole = f'{{"{draw(st.sampled_from(HOLDERS))}":' * depth + inner + "}" * depth
    return json.dumps(holder[0]).replace('"HERE"', whole).encode()


@st.composite
def damaged(draw: st.DrawFn, documents: list[Any]) -> bytes:
    """Draw truncated, modified, wrapped or random bytes instead of a document."""
    data = json.dumps(draw(st.sampled_from(documents))).encode()
    start = draw(st.integers(0, len(data)))
    noise = draw(st.binary(max_size=6) | st.sampled_from(NOISE))
    depth = draw(st.integers(1, 1500))
    wrapped = b"[" * depth + data + b"]" * depth
    return draw(st.sampled_from([data[:start], data[start:], data[:start] + noise + data[start:], noise, wrapped]))


def check_text(*texts: str) -> None:
    for text in texts:
        assert isinstance(text, str)
        text.encode()


def check_canvas(manifest: Manifest, canvas: Canvas) -> None:
    assert (canvas.image is None) != (canvas.reason == "")
    name = manifest.image_name(canvas)
    check_text(canvas.id, canvas.reason, name)
    assert name
    assert name == name.strip()
    assert len(name.splitlines()) == 1
    sizes = [canvas.width, canvas.height]
    for image in canvas.images:
        check_text(image.url, image.own_name, image.service.info_url if image.service else "")
        assert image.url or image.service
        assert isinstance(image.is_reduced, bool)
        sizes += [image.width, image.height]
    assert all(size is None or (type(size) is int and size > 0) for size in sizes)


def read_document(data: bytes) -> Manifest | Collection | str:
    """Parse a document. Return the result, or the message of the error."""
    try:
        return parse_document(data, URL)
    except ManifestError as error:
        return error.message


def check_document(data: bytes) -> None:
    read = read_document(data)
    if isinstance(read, str):
        check_text(read)
        assert read.startswith(URL)
        assert len(read.splitlines()) == 1
        return
    check_text(read.url, read.id)
    if isinstance(read, Collection):
        addresses = [*read.manifests, *read.collections]
        check_text(*addresses)
        assert addresses
        assert all(addresses)
        assert len(set(read.manifests)) == len(read.manifests)
        assert len(set(read.collections)) == len(read.collections)
        return
    check_text(read.ref)
    assert [canvas.number for canvas in read.canvases] == list(range(1, len(read.canvases) + 1))
    assert read.canvases
    for canvas in read.canvases:
        check_canvas(read, canvas)


def check_urls(info: ImageInfo, longest: int) -> None:
    """Check that no request exceeds the full size or the limits."""
    most = min(info.width, info.max_width or info.width), min(info.height, info.max_height or info.height)
    sizes = [choose_size(info, longest)]
    for url in [request.url for request in build_requests(info, longest)]:
        check_text(url)
        match = re.fullmatch(rf"{re.escape(info.service.id)}/full/(?:(\d+),(\d*)|full|max)/0/(default|native).jpg", url)
        assert match, url
        if match[1]:
            sizes.append((int(match[1]), int(match[2] or 1)))
    for width, height in sizes:
        assert 1 <= width <= most[0]
        assert 1 <= height <= most[1]
        assert width * height <= (info.max_area or width * height)
    width, height = choose_size(info, longest)
    if (width, height) not in info.sizes:
        to_width = abs(height - info.height * width / info.width)
        to_height = abs(width - info.width * height / info.height)
        assert min(to_width, to_height) <= 1


@given(mutated(WRITTEN))
def test_a_mutated_document_is_either_parsed_or_refused(data: bytes) -> None:
    check_document(data)


@given(mutated(load_real() or WRITTEN))
def test_a_mutated_real_document_is_either_parsed_or_refused(data: bytes) -> None:
    check_document(data)


@given(nested(WRITTEN))
def test_a_deeply_nested_document_is_either_parsed_or_refused(data: bytes) -> None:
    check_document(data)


@given(damaged(WRITTEN))
def test_damaged_bytes_are_either_parsed_or_refused(data: bytes) -> None:
    check_document(data)


@given(values)
def test_any_json_is_either_parsed_or_refused(document: Any) -> None:
    check_document(json.dumps(document).encode())


@given(mutated(INFOS) | damaged(INFOS), st.integers(1, 10**6))
def test_a_mutated_info_json_is_either_parsed_or_refused(data: bytes, longest: int) -> None:
    try:
        info = parse_image_info(data, SERVICE)
    except FetchError as error:
        check_text(error.message)
        return
    assert isinstance(info, ImageInfo)
    assert info.service.id == SERVICE.id
    check_urls(info, longest)


lengths = st.one_of(st.integers(1, 9000), st.integers(1, 200_000), st.integers(1, 10**9))
limits = st.none() | lengths


@given(
    st.builds(
        ImageInfo,
        st.builds(ImageService, st.just(SERVICE.id), st.integers(1, 3), st.integers(0, 2)),
        lengths,
        lengths,
        st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 9000)), max_size=4).map(tuple),
        limits,
        limits,
        limits | st.integers(1, 10**18),
    ),
    lengths,
)
def test_no_request_exceeds_the_full_size_or_the_limits(info: ImageInfo, longest: int) -> None:
    check_urls(info, longest)
