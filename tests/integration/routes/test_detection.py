import io
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.auth import add_app
from app.config import Settings
from app.demo.service import find_free_port

MANIFEST = "https://example.org/iiif/manifest.json"


def post_list(client: FlaskClient, headers: dict[str, str], content: bytes, **fields: str) -> Any:
    form = {"url_file": (io.BytesIO(content), "list.txt"), **fields}
    return client.post("/detect_all", headers=headers, data=form)


@pytest.mark.parametrize("path", ["/run_detect", "/delete_detect"])
def test_an_accepted_manifest_is_200_with_the_job(client: FlaskClient, headers: dict[str, str], path: str) -> None:
    answer = client.post(path, headers=headers, data={"manifest_url": MANIFEST, "experiment_id": "7"})
    assert answer.status_code == 200
    assert answer.json.keys() == {"message", "job_id", "status_url"}
    job = client.get(answer.json["status_url"], headers=headers).json
    assert (job["job_id"], job["state"], job["manifest_url"]) == (answer.json["job_id"], "queued", MANIFEST)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "manifest_url"),
        ({"manifest_url": ""}, "manifest_url"),
        ({"manifest_url": "example.org/manifest"}, "manifest_url"),
        ({"manifest_url": "file:///etc/passwd"}, "manifest_url"),
        ({"manifest_url": MANIFEST, "model": "absent.pt"}, "model"),
        ({"manifest_url": MANIFEST, "model": "../../etc/passwd"}, "model"),
        ({"manifest_url": MANIFEST, "callback": "nowhere"}, "callback"),
    ],
)
@pytest.mark.parametrize("path", ["/run_detect", "/delete_detect"])
def test_the_error_names_an_invalid_field_and_no_job_is_created(
    client: FlaskClient, headers: dict[str, str], path: str, form: dict[str, str], field: str
) -> None:
    answer = client.post(path, headers=headers, data=form)
    assert answer.status_code == 400
    assert answer.json["message"].startswith(field)
    assert client.get("/jobs", headers=headers).json == {"jobs": []}


def test_valid_lines_get_jobs_and_invalid_lines_are_listed(client: FlaskClient, headers: dict[str, str]) -> None:
    content = b"\xef\xbb\xbfhttps://a.example/1\r\n\r\n  \nnot an address\nhttps://a.example/2\nftp://a.example/3"
    answer = post_list(client, headers, content)
    assert answer.status_code == 200
    assert [job["manifest_url"] for job in answer.json["jobs"]] == ["https://a.example/1", "https://a.example/2"]
    assert [(fault["line"], fault["text"]) for fault in answer.json["refused"]] == [
        (4, "not an address"),
        (6, "ftp://a.example/3"),
    ]
    assert all(fault["message"].startswith("manifest_url is not a web address") for fault in answer.json["refused"])
    assert "4, 6." in answer.json["message"]
    assert answer.json["job_id"] == answer.json["jobs"][0]["job_id"]
    assert len(client.get("/jobs", headers=headers).json["jobs"]) == 2


def test_a_repeated_line_gets_one_job(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = post_list(client, headers, b"https://a.example/1\nhttps://a.example/1\n")
    assert len(answer.json["jobs"]) == 1


@pytest.mark.parametrize("content", [b"", b"\n \n", b"nothing\n", b"\xff\xfe\x00"])
def test_a_list_without_a_valid_line_is_400(client: FlaskClient, headers: dict[str, str], content: bytes) -> None:
    answer = post_list(client, headers, content)
    assert answer.status_code == 400
    assert "url_file" in answer.json["message"]


@pytest.mark.parametrize(("field", "value"), [("model", "absent.pt"), ("callback", "nowhere")])
def test_the_error_names_an_invalid_field_next_to_a_list(
    client: FlaskClient, headers: dict[str, str], field: str, value: str
) -> None:
    answer = post_list(client, headers, b"https://a.example/1\n", **{field: value})
    assert answer.status_code == 400
    assert answer.json["message"].startswith(field)
    assert client.get("/jobs", headers=headers).json == {"jobs": []}


def test_a_missing_list_is_400(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/detect_all", headers=headers, data={"url_file": "https://a.example/1"})
    assert answer.status_code == 400
    assert "url_file" in answer.json["message"]


def test_a_request_is_accepted_while_the_broker_is_down(settings: Settings) -> None:
    down = settings.model_copy(update={"celery_broker_url": f"redis://127.0.0.1:{find_free_port()}"})
    app: Flask = create_app(down)
    headers = {"X-API-Key": add_app(app.extensions["services"].database, "front")}
    client = app.test_client()
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST})
    assert answer.status_code == 200
    (job,) = client.get("/jobs", headers=headers).json["jobs"]
    assert (job["job_id"], job["state"]) == (answer.json["job_id"], "queued")
    app.extensions["services"].database.close()
