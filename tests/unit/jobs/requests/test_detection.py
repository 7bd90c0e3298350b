import pytest

from app.errors import RequestError
from app.jobs import DetectionRequest

MANIFEST = "https://example.org/manifest.json"


def test_every_field_is_taken() -> None:
    form = {"manifest_url": f" {MANIFEST} ", "model": "m.pt", "callback": "https://a.example/x", "experiment_id": "7"}
    assert DetectionRequest.from_form(form) == DetectionRequest(MANIFEST, "m.pt", "https://a.example/x", "7")


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
        "http://example.org/a b",
        "http://example.org/\nX",
        "http://user:password@example.org/",
        "http://example.org/" + "x" * 5000,
    ],
)
def test_an_unusable_manifest_url_is_named(url: str) -> None:
    with pytest.raises(RequestError, match="manifest_url"):
        DetectionRequest.from_form({"manifest_url": url})


@pytest.mark.parametrize(
    ("field", "value"),
    [("callback", "nowhere"), ("model", "a\nb"), ("experiment_id", "x" * 201), ("model", "\0")],
)
def test_an_unusable_field_is_named(field: str, value: str) -> None:
    with pytest.raises(RequestError, match=field):
        DetectionRequest.from_form({"manifest_url": MANIFEST, field: value})


def test_a_request_survives_the_database() -> None:
    request = DetectionRequest(MANIFEST, refresh=True)
    assert DetectionRequest(**request.as_json()) == request


def test_a_list_gives_its_good_lines_once_and_names_the_bad_ones() -> None:
    text = "\nhttps://a.example/1\n  \nnot an address\nhttps://a.example/1 \nhttps://a.example/2"
    good, bad = DetectionRequest.from_list({"model": "m.pt"}, text)
    assert [(each.manifest_url, each.model) for each in good] == [
        ("https://a.example/1", "m.pt"),
        ("https://a.example/2", "m.pt"),
    ]
    assert [(each.line, each.text) for each in bad] == [(4, "not an address")]


def test_a_bad_field_beside_a_list_refuses_the_list() -> None:
    with pytest.raises(RequestError, match="callback"):
        DetectionRequest.from_list({"callback": "nowhere"}, "https://a.example/1")
