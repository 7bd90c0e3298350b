"""``POST /run_detect`` with a file instead of a URL."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.sources import recognition
from tests.integration.sources.test_documents import SCANS, make_zip
from tests.support.drawn_pdfs import build_page
from tests.support.library import Answer, Library

LIST = json.dumps({"p1.jpg": "https://a.example/1.jpg"}).encode()


def send(client: FlaskClient, headers: dict[str, str], content: bytes, name: str = "ms 12.zip", **fields: str) -> Any:
    form = {"file": (io.BytesIO(content), name), **fields}
    return client.post("/run_detect", headers=headers, data=form)


def list_job_folders(app: Flask) -> list[Path]:
    return list((app.extensions["services"].storage.root / "jobs").glob("*"))


@pytest.mark.parametrize("content", [SCANS, build_page(b""), LIST, b"https://a.example/1.jpg"])
def test_an_accepted_file_is_a_job_without_manifest_url(
    app: Flask, client: FlaskClient, headers: dict[str, str], content: bytes
) -> None:
    answer = send(client, headers, content, experiment_id="7")
    assert answer.status_code == 200
    assert answer.json.keys() == {"message", "job_id", "status_url"}
    job = client.get(answer.json["status_url"], headers=headers).json
    assert (job["state"], job["manifest_url"], job["file"]) == ("queued", "", "ms 12.zip")
    folder = app.extensions["services"].storage.job(answer.json["job_id"])
    assert folder.source.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 100, "it must be a IIIF manifest, a zip file of images, a PDF or a list of image URLs"),
        (b"<!DOCTYPE html>", "is an HTML page"),
        (make_zip({}), "is an empty zip file"),
        (make_zip({"a.zip": SCANS}), "no images but 1 .zip file"),
        (make_zip({"../a.jpg": b"x"}), "'..'"),
        (SCANS[:300], "is not a zip file, or it is incomplete"),
        (b'{"a": "nowhere"}', "has no usable image"),
        (b'{"type": "Manifest"}', "has no canvases"),
    ],
)
def test_a_file_that_cannot_be_used_is_400_and_leaves_nothing(
    app: Flask, client: FlaskClient, headers: dict[str, str], content: bytes, reason: str
) -> None:
    answer = send(client, headers, content)
    assert answer.status_code == 400
    assert answer.json["message"].startswith("file: ")
    assert reason in answer.json["message"]
    assert client.get("/jobs", headers=headers).json == {"jobs": []}
    assert list_job_folders(app) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"manifest_url": "https://a.example/m"}, "both manifest_url and file"),
        ({"estimate": "true"}, "estimate needs manifest_url"),
        ({"model": "absent.pt"}, "model"),
        ({"callback": "nowhere"}, "callback"),
    ],
)
def test_a_file_with_other_invalid_fields_is_400_and_leaves_nothing(
    app: Flask, client: FlaskClient, headers: dict[str, str], fields: dict[str, str], reason: str
) -> None:
    answer = send(client, headers, SCANS, **fields)
    assert answer.status_code == 400
    assert reason in answer.json["message"]
    assert client.get("/jobs", headers=headers).json == {"jobs": []}
    assert list_job_folders(app) == []


@pytest.mark.parametrize("form", [{}, {"manifest_url": ""}, {"file": (io.BytesIO(b""), "")}])
def test_a_request_without_a_document_is_400(client: FlaskClient, headers: dict[str, str], form: Any) -> None:
    answer = client.post("/run_detect", headers=headers, data=form)
    assert answer.status_code == 400
    assert answer.json["message"].startswith("manifest_url is missing: send the URL of a document, or")


def test_text_as_file_is_400(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/run_detect", headers=headers, data={"file": "ms.zip"})
    assert answer.status_code == 400
    assert answer.json["message"].startswith("file must be a file")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("é\u202e.zip", "é.zip"),
        ("x" * 5000 + ".zip", "x" * 196 + ".zip"),
        ("/", "file"),
    ],
)
def test_the_name_of_a_file_is_never_a_path(
    client: FlaskClient, headers: dict[str, str], name: str, shown: str
) -> None:
    answer = send(client, headers, SCANS, name)
    assert answer.status_code == 200
    assert client.get(answer.json["status_url"], headers=headers).json["file"] == shown


def test_a_long_text_is_left_to_the_worker_but_no_other_file(
    client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "_CHECKED_BYTES", 1000)
    long = b" " * 1000
    assert send(client, headers, b"[" + long, "list.json").status_code == 200
    answer = send(client, headers, b"<!DOCTYPE html>" + long, "list.json")
    assert (answer.status_code, "is an HTML page" in answer.json["message"]) == (400, True)


def test_a_file_may_be_larger_than_other_requests(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10_000
    assert len(SCANS) > 1000
    large = make_zip({"1.jpg": b"\xff\xd8\xff" + bytes(20_000)})
    assert send(client, headers, large).status_code == 200
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/" + "x" * 20_000})
    assert answer.status_code == 413


@pytest.mark.parametrize(("path", "body"), [("/ms.zip", SCANS), ("/ms.pdf", build_page(b""))])
def test_an_estimate_of_a_file_is_400_with_the_reason(
    client: FlaskClient, headers: dict[str, str], library: Library, path: str, body: bytes
) -> None:
    url = library.answer(path, Answer(body=body))
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": url, "estimate": "true"})
    assert answer.status_code == 400
    assert "whose pages are unknown before its download" in answer.json["message"]


def test_an_estimate_of_a_list_counts_its_images(
    client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    url = library.answer("/list.txt", Answer(body=b"https://a.example/1.jpg\nhttps://a.example/2.jpg\n"))
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": url, "estimate": "true"})
    assert (answer.json["canvases"], answer.json["images"]) == (2, 2)
