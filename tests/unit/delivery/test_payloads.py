import json

import pytest
import requests

from app.delivery.payloads import (
    Destination,
    build_annotation_payload,
    find_annotation_destination,
    format_event,
)


@pytest.mark.parametrize(
    ("callback", "client_app", "expected"),
    [
        (
            "https://a.example/in/",
            "https://b.example",
            Destination("https://a.example/in/ms-3", "https://a.example/in"),
        ),
        ("", "https://b.example", Destination("https://b.example/annotate/ms-3", "https://b.example/annotate")),
        ("", "", None),
    ],
)
def test_the_callback_overrides_the_client_app_url(
    callback: str, client_app: str, expected: Destination | None
) -> None:
    assert find_annotation_destination(callback, client_app, "ms-3") == expected


def test_the_manifest_ref_is_escaped_as_one_path_part() -> None:
    found = find_annotation_destination("https://a.example", "", "é/?#")
    assert found == Destination("https://a.example/%C3%A9%2F%3F%23", "https://a.example")


def test_the_form_equals_the_form_of_requests() -> None:
    payload = build_annotation_payload("é", b"1 a.jpg\n", "m", "7")
    boundary = payload.content_type.partition("boundary=")[2]
    files = {"annotation_file": ("é.txt", b"1 a.jpg\n")}
    form = requests.Request(
        "POST", "http://a.example", data={"model": "m", "experiment_id": "7"}, files=files
    ).prepare()
    theirs = form.headers["Content-Type"].partition("boundary=")[2]
    assert payload.body.replace(boundary.encode(), theirs.encode()) == form.body


def test_the_form_has_no_experiment_field_without_an_experiment() -> None:
    assert b"experiment_id" not in build_annotation_payload("r", b"", "m", "").body


def test_an_event_has_the_structure_of_the_specification() -> None:
    event = format_event("job.done", "2026-01-02T03:04:05Z", {"job_id": "é"})
    assert json.loads(event) == {"type": "job.done", "timestamp": "2026-01-02T03:04:05Z", "data": {"job_id": "é"}}
