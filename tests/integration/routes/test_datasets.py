"""``/send-data``, ``/send-dataset`` and ``/datasets``, called in the application and through gunicorn."""

import fcntl
import io
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from app.auth import add_app
from app.routes.large_bodies import MOST_UPLOADS
from tests.support.api import Api, open_api
from tests.support.archives import BOX, YAML, make_image, make_pages, make_zip
from tests.support.sorted_pages import make_coco

PAGE = make_image()


def fill_data(*stems: str, split: str = "train", **fields: Any) -> dict[str, Any]:
    images, labels = make_pages(*(stems or ("p1",)))
    form = {"img_zip": (images, "i.zip"), "anno_zip": (labels, "a.zip"), "yaml_file": (io.BytesIO(YAML), "eida.yaml")}
    return form | {"action": split} | fields


def fill_dataset(**fields: Any) -> dict[str, Any]:
    content = make_zip({"images/train/a.jpg": PAGE, "labels/train/a.txt": BOX})
    return {"dataset_zip": (content, "d.zip"), "yaml_file": (io.BytesIO(YAML), "vhs.yaml")} | fields


def test_pages_are_uploaded_split_by_split(client: FlaskClient, headers: dict[str, str]) -> None:
    client.post("/send-data", headers=headers, data=fill_data("p1", "p2"))
    answer = client.post("/send-data", headers=headers, data=fill_data("p3", split="val"))
    assert answer.status_code == 200
    assert answer.json["message"] == "The data set eida has 1 image for val now."
    assert answer.json["dataset"] == {
        "name": "eida",
        "classes": ["illustration", "initial"],
        "splits": {
            "train": {"images": 2, "illustrations": 2, "empty": 0},
            "val": {"images": 1, "illustrations": 1, "empty": 0},
        },
        "changed": answer.json["dataset"]["changed"],
    }
    assert answer.json["dataset"]["changed"].endswith("Z")
    assert client.get("/datasets", headers=headers).json == {"datasets": [answer.json["dataset"]]}


def test_a_complete_data_set_is_uploaded(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/send-dataset", headers=headers, data=fill_dataset())
    assert (answer.status_code, answer.json["message"]) == (200, "The data set vhs has 1 image for train.")
    assert answer.json["dataset"]["splits"] == {"train": {"images": 1, "illustrations": 1, "empty": 0}}


def test_an_export_in_coco_json_is_uploaded(client: FlaskClient, headers: dict[str, str]) -> None:
    files = {f"images/{split}2017/{n}.jpg": PAGE for split in ("train", "val") for n in range(3)}
    files |= {
        f"annotations/instances_{split}2017.json": make_coco(names)
        for split, names in {"train": ["0.jpg", "1.jpg"], "val": ["2.jpg"]}.items()
    }
    client.post("/send-dataset", headers=headers, data=fill_dataset(dataset_zip=(make_zip(files), "d.zip")))
    (dataset,) = client.get("/datasets", headers=headers).json["datasets"]
    assert dataset["splits"] == {
        "train": {"images": 3, "illustrations": 2, "empty": 1},
        "val": {"images": 3, "illustrations": 1, "empty": 2},
    }


@pytest.mark.parametrize(("action", "split"), [(None, "test"), ("", "test"), ("val", "val")])
def test_pages_without_a_split_are_for_test_unless_action_is_set(
    client: FlaskClient, headers: dict[str, str], action: str | None, split: str
) -> None:
    flat = (make_zip({"images/a.jpg": PAGE, "labels/a.txt": BOX}), "d.zip")
    form = fill_dataset(dataset_zip=flat) | ({} if action is None else {"action": action})
    assert list(client.post("/send-dataset", headers=headers, data=form).json["dataset"]["splits"]) == [split]


def test_the_name_comes_from_the_field_name_or_the_yaml_file(client: FlaskClient, headers: dict[str, str]) -> None:
    for name in ("mine", "other.yaml"):
        client.post("/send-data", headers=headers, data=fill_data(name=name))
    client.post("/send-data", headers=headers, data=fill_data(yaml_file=(io.BytesIO(YAML), "../../etc/x.yml")))
    names = [dataset["name"] for dataset in client.get("/datasets", headers=headers).json["datasets"]]
    assert names == ["mine", "other", "x"]


def test_only_the_owner_can_remove_a_data_set(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    client.post("/send-data", headers=headers, data=fill_data())
    other = {"X-API-Key": add_app(app.extensions["services"].database, "other")}
    assert client.get("/datasets", headers=other).json == {"datasets": []}
    refused = client.delete("/datasets/eida", headers=other)
    assert (refused.status_code, refused.json["code"]) == (404, "not_found")
    answer = client.delete("/datasets/eida", headers=headers)
    assert (answer.status_code, answer.json["message"]) == (200, "The data set eida is removed.")
    assert client.get("/datasets", headers=headers).json == {"datasets": []}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"img_zip": ""}, "img_zip is missing: send a zip file of images."),
        ({"anno_zip": ""}, "anno_zip is missing: send a zip file of label files, one .txt file per image."),
        ({"yaml_file": "names: [a]"}, "yaml_file must be a file, not 'names: [a]'."),
        ({"action": ""}, "action is missing: send the purpose of the pages: train, val or test."),
        ({"action": "validate"}, "action is 'validate': send one of train, val, test."),
        ({"yaml_file": (io.BytesIO(YAML), "my data.yaml")}, "'my data.yaml' cannot be the name of a data set"),
        ({"name": "../x"}, "'../x' cannot be the name of a data set"),
        ({"img_zip": (io.BytesIO(b"x"), "i.zip")}, "img_zip is not a zip file"),
    ],
)
def test_the_error_names_the_invalid_field(
    client: FlaskClient, headers: dict[str, str], fields: dict[str, Any], sentence: str
) -> None:
    answer = client.post("/send-data", headers=headers, data=fill_data(**fields))
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert answer.json["message"].startswith(sentence)
    assert client.get("/datasets", headers=headers).json == {"datasets": []}


def test_too_many_concurrent_uploads_are_503(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    parts = app.extensions["services"].datasets.parts
    parts.mkdir(parents=True)
    with ExitStack() as stack:
        for number in range(MOST_UPLOADS):
            fcntl.flock(stack.enter_context((parts / f"lock-{number}").open("wb")), fcntl.LOCK_EX)
        answer = client.post("/send-data", headers=headers, data=fill_data())
        assert (answer.status_code, answer.json["code"]) == (503, "busy")
        assert answer.headers["Retry-After"]
    assert client.post("/send-data", headers=headers, data=fill_data()).status_code == 200


def test_an_upload_to_a_full_disk_is_507(
    client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    answer = client.post("/send-data", headers=headers, data=fill_data())
    assert (answer.status_code, answer.json["code"]) == (507, "no_space")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Api]:
    """The API on gunicorn, with small limits for requests that are not uploads."""
    limits = {"max_request_mb": 0.1, "max_dataset_mb": 5, "request_seconds": 2}
    with open_api(tmp_path_factory.mktemp("api"), celery_broker_url=broker_url, **limits) as api:
        yield api


def send(api: Api, headers: dict[str, str], **files: Any) -> requests.Response:
    form = fill_data(**files)
    action = {"action": form.pop("action")}
    return requests.post(f"{api.address}/send-data", headers=headers, data=action, files=swap(form), timeout=60)


def swap(form: dict[str, Any]) -> dict[str, Any]:
    return {field: (name, content.getvalue()) for field, (content, name) in form.items()}


def test_an_upload_may_be_larger_than_other_requests(api: Api) -> None:
    large = {"p1.bmp": make_image("BMP", (800, 600))}
    answer = send(api, api.headers, img_zip=(make_zip(large, 0), "i.zip"))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_over_its_limit_is_413_with_a_message(api: Api, chunked: bool) -> None:
    form = swap(fill_data(img_zip=(io.BytesIO(bytes(6_000_000)), "i.zip")) | {"action": (io.BytesIO(b"train"), "")})
    body = requests.Request("POST", "http://x", files=form).prepare()
    headers = api.headers | {"Content-Type": body.headers["Content-Type"]}
    pieces = (body.body[start : start + 100_000] for start in range(0, len(body.body), 100_000))
    data = pieces if chunked else body.body
    answer = requests.post(f"{api.address}/send-data", headers=headers, data=data, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "5 MB (MAX_DATASET_MB)" in answer.json()["message"]


@pytest.mark.parametrize(("key", "status"), [("", 400), ("wrong", 403)])
def test_a_request_without_a_key_is_rejected_before_its_body_is_read(api: Api, key: str, status: int) -> None:
    head = f"POST /send-data HTTP/1.1\r\nHost: api\r\nX-API-Key: {key}\r\nContent-Length: 4000000\r\n\r\n"
    with api.connect(head.encode()) as connection:
        assert connection.recv(12) == b"HTTP/1.1 %d" % status


def begin_upload(api: Api, image: bytes = PAGE) -> tuple[socket.socket, bytes]:
    """Send the headers of an upload. Return the connection and the body that is still to be sent."""
    content = make_zip({"images/a.jpg": image, "labels/a.txt": BOX}, zipfile.ZIP_STORED)
    form = fill_dataset(dataset_zip=(content, "d.zip"))
    body = requests.Request("POST", "http://x", files=swap(form)).prepare()
    lines = ["POST /send-dataset HTTP/1.1", "Host: api", "Connection: close", f"X-API-Key: {api.headers['X-API-Key']}"]
    lines += [f"Content-Type: {body.headers['Content-Type']}", f"Content-Length: {len(body.body)}", "", ""]
    return api.connect("\r\n".join(lines).encode()), body.body


def test_a_steady_upload_may_take_longer_than_other_requests(api: Api) -> None:
    connection, body = begin_upload(api, make_image("BMP", (800, 600)))
    with connection:
        pause = threading.Event()
        for start in range(0, len(body), len(body) // 8):
            connection.sendall(body[start : start + len(body) // 8])
            pause.wait(0.5)  # eight of these are twice the limit of other requests
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_stalled_upload_is_dropped(api: Api) -> None:
    connection, body = begin_upload(api)
    with connection:
        connection.sendall(body[:-1])
        connection.settimeout(30)  # far below the hour that an upload may take
        assert connection.recv(12) in (b"", b"HTTP/1.1 400")


def test_slow_uploads_leave_threads_for_other_requests(api: Api) -> None:
    head = f"POST /send-data HTTP/1.1\r\nHost: api\r\nX-API-Key: {api.headers['X-API-Key']}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 400000\r\n\r\n--b\r\n"
    with ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(api.connect(head.encode()))
        assert requests.get(f"{api.address}/models", timeout=30).status_code == 200
        while (answer := send(api, api.headers)).status_code == 200:  # until the slow uploads hold all locks
            pass
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")


def test_an_interrupted_upload_leaves_no_data_set(api: Api) -> None:
    requests.delete(f"{api.address}/datasets/vhs", headers=api.headers, timeout=30)
    connection, body = begin_upload(api)
    with connection, connection.makefile("rb") as answer:
        connection.sendall(body[:-20])
        connection.shutdown(socket.SHUT_WR)
        assert b"bad_request" in answer.read()
    listed = requests.get(f"{api.address}/datasets", headers=api.headers, timeout=30).json()["datasets"]
    assert "vhs" not in [dataset["name"] for dataset in listed]
