import pytest

from app.errors import RequestError
from app.jobs.requests import DetectionOptions, DetectionRequest, ManifestForm, read, read_list
from app.jobs.requests.fields import check_url

MANIFEST = "https://example.org/manifest.json"


def test_every_field_is_taken() -> None:
    form = {"manifest_url": f" {MANIFEST} ", "model": "m.pt", "callback": "https://a.example/x", "experiment_id": "7"}
    expected = DetectionRequest(MANIFEST, model="m.pt", callback="https://a.example/x", experiment_id="7")
    assert read(DetectionRequest, form) == expected


def test_a_blank_field_counts_as_missing_and_an_unknown_one_is_passed_over() -> None:
    form = {"manifest_url": MANIFEST, "callback": "  ", "image_size": "", "odd": "x"}
    assert read(DetectionRequest, form) == DetectionRequest(MANIFEST)


def test_what_only_a_route_decides_is_no_field() -> None:
    assert read(DetectionRequest, {"manifest_url": MANIFEST, "refresh": "true"}) == DetectionRequest(MANIFEST)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "example.org/manifest.json",
        "ftp://example.org/m",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://.:80/",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org\\@a.example/",
        "http://example.org/\nX",
        "http://user:password@example.org/",
        "http://example.org/" + "x" * 5000,
        "http://example.org/" + "é" * 1000,
    ],
)
def test_an_unusable_manifest_url_is_named(url: str) -> None:
    with pytest.raises(RequestError, match="manifest_url"):
        read(ManifestForm, {"manifest_url": url})


# URLs that must be encoded before they are requested (app/net/urls.py).
PUBLISHED = [
    "https://a.example/ms 1/manifest.json",
    "https://a.example/é/[1]/100%/a%2fb/c\\d",
    "https://Bücher.example/m",
]


@pytest.mark.parametrize("url", PUBLISHED)
@pytest.mark.parametrize("field", ["manifest_url", "callback", "notify_url"])
def test_a_url_with_spaces_or_accents_is_kept_as_sent(field: str, url: str) -> None:
    request = read(DetectionRequest, {"manifest_url": MANIFEST} | {field: f" {url} "})
    assert getattr(request, field) == url


def test_lines_and_members_with_spaces_or_accents_get_requests() -> None:
    assert [each.manifest_url for each in read_list("\n".join(PUBLISHED), DetectionOptions(), 9999)[0]] == PUBLISHED
    assert [each.manifest_url for each in DetectionRequest(MANIFEST).for_manifests(PUBLISHED)[0]] == PUBLISHED


@pytest.mark.parametrize(
    ("field", "value"),
    [("callback", "nowhere"), ("model", "a\nb"), ("experiment_id", "x" * 201), ("model", "\0")],
)
def test_an_unusable_field_is_named(field: str, value: str) -> None:
    with pytest.raises(RequestError, match=field):
        read(ManifestForm, {"manifest_url": MANIFEST, field: value})


@pytest.mark.parametrize("field", ["callback", "notify_url"])
def test_a_fragment_is_refused_in_a_url_that_receives_data(field: str) -> None:
    for url in ("https://app.example/a#b", "https://app.example#"):
        with pytest.raises(RequestError) as caught:
            read(ManifestForm, {"manifest_url": f"{MANIFEST}#page", field: url})
        assert caught.value.message == f"{field} must not contain a fragment: remove # and what follows."


def test_a_request_survives_the_database() -> None:
    request = DetectionRequest(MANIFEST, refresh=True)
    assert DetectionRequest.from_json(request.as_json()) == request
    assert request.as_json() == {
        "manifest_url": MANIFEST,
        "model": "",
        "callback": "",
        "experiment_id": "",
        "image_size": "",
        "tiles": "",
        "notify_url": "",
        "refresh": True,
        "file_name": "",
        "file_digest": "",
    }


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {},
            "manifest_url is missing: send the URL of a IIIF manifest or collection, a zip file of images, a PDF, "
            "or a list of image URLs.",
        ),
        (
            {"manifest_url": "x"},
            "manifest_url is not a web address: 'x'; send one that starts with http:// or https://.",
        ),
        ({"image_size": "7"}, "image_size must be a number of pixels from 64 to 100000, or «full», not '7'."),
        ({"tiles": "4x4"}, "tiles must be one of auto, off, not '4x4'."),
        ({"experiment_id": "x" * 201}, "experiment_id is longer than 200 characters."),
    ],
)
def test_a_refusal_is_one_sentence_with_field_value_and_limit(fields: dict[str, str], sentence: str) -> None:
    form = ({"manifest_url": MANIFEST} | fields) if fields else {}
    with pytest.raises(RequestError) as caught:
        read(ManifestForm, form)
    assert caught.value.message == sentence


def test_a_list_gives_its_good_lines_once_and_names_the_bad_ones() -> None:
    text = "\nhttps://a.example/1\n  \nnot an address\nhttps://a.example/1 \nhttps://a.example/2"
    good, bad = read_list(text, DetectionOptions(model="m.pt"), 3)
    assert [(each.manifest_url, each.model) for each in good] == [
        ("https://a.example/1", "m.pt"),
        ("https://a.example/2", "m.pt"),
    ]
    assert [(each.line, each.text) for each in bad] == [(4, "not an address")]


def test_a_list_is_read_until_it_has_too_many_lines() -> None:
    for line in ("https://a.example/3", "no address either"):
        text = f"https://a.example/1\nno address\nhttps://a.example/2\n{line}"
        assert len(read_list(text, DetectionOptions(), 4)[0]) >= 2
        with pytest.raises(RequestError) as caught:
            read_list(text, DetectionOptions(), 3)
        assert caught.value.message == "url_file has more than 3 lines: send at most 3 manifests at a time."


def test_a_job_waits_for_the_host_of_its_manifest() -> None:
    assert DetectionRequest("https://Gallica.BnF.fr.:443/1").host == "gallica.bnf.fr"


def test_manifests_of_a_collection_share_its_options() -> None:
    good, bad = DetectionRequest(MANIFEST, model="m.pt").for_manifests(["https://a.example/1 ", "nowhere"])
    assert good == [DetectionRequest("https://a.example/1", model="m.pt")]
    assert list(bad) == ["nowhere"]
    assert bad["nowhere"].startswith("manifest_url is not a web address: 'nowhere'")


@pytest.mark.parametrize("character", ["#", "/", "?", "[", " ", "@", "\u00e9"])
def test_a_password_in_a_callback_is_refused_and_not_shown(character: str) -> None:
    with pytest.raises(RequestError, match="callback") as caught:
        check_url("callback", f"https://user:q7zx{character}k9yw@app.example")
    assert not any(part in caught.value.message for part in ("q7zx", "k9yw"))
