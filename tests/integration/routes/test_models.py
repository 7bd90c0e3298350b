import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.config import ROOT, Settings
from app.detection.weights_files.checkpoint import ADVICE
from app.routes import models
from tests.support.checkpoints import Call, make_module, save_records

MANIFEST = {"manifest_url": "https://library.example/manifest.json"}


@pytest.fixture
def folder(app: Flask) -> Path:
    """The weights of the server: two files with a network, and one without."""
    folder: Path = app.extensions["services"].models.folder
    save_records(folder / "best_eida.pt", make_module(), train_args={"imgsz": 512})
    save_records(folder / "other.pt", make_module())
    (folder / "best_eida.md").write_text("# Diagrams\n")
    os.utime(folder / "best_eida.pt", (1712065196, 1712065196))
    return folder


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the trial of weights, which needs torch, by a list of the file names."""
    tried: list[str] = []
    monkeypatch.setattr(models, "try_weights", lambda path, _: tried.append(path.name))
    return tried


def test_models_are_listed_with_the_time_of_their_last_change(client: FlaskClient, folder: Path) -> None:
    answer = client.get("/models")
    assert answer.status_code == 200
    assert answer.json["best_eida.pt"] == time.ctime(1712065196)
    assert answer.json.keys() == {"best_eida.pt", "illustrations.pt", "other.pt"}


@pytest.mark.parametrize("name", ["best_eida", "best_eida.pt"])
def test_a_model_is_described(client: FlaskClient, folder: Path, name: str) -> None:
    answer = client.get(f"/models/{name}")
    assert answer.status_code == 200
    assert answer.json == {
        "name": "best_eida.pt",
        "label": "best_eida_04_2024",
        "default": False,
        "supported": True,
        "error": None,
        "architecture": "YOLO",
        "parameters": 0,
        "classes": {"0": "a"},
        "input_size": 512,
        "detection_size": 512,
        "sha256": hashlib.sha256((folder / "best_eida.pt").read_bytes()).hexdigest(),
        "size": (folder / "best_eida.pt").stat().st_size,
        "changed": "2024-04-02T13:39:56Z",
        "card": "# Diagrams\n",
    }


def test_unusable_weights_are_described_with_the_reason(client: FlaskClient, folder: Path) -> None:
    (folder / "illustrations.pt").write_text("<html>")
    reason = "illustrations.pt is an HTML page, such as the answer of a web site that asks for a login: "
    answer = client.get("/models/illustrations")
    assert answer.status_code == 200
    assert answer.json["default"] is True
    assert answer.json["supported"] is False
    assert answer.json["error"].startswith(reason)
    assert answer.json["architecture"] is None
    assert client.get("/models/default").json["error"] == answer.json["error"]


@pytest.mark.parametrize("model", [{}, {"model": "illustrations"}])
def test_requests_with_unusable_weights_are_refused(
    client: FlaskClient, headers: dict[str, str], folder: Path, model: dict[str, str]
) -> None:
    (folder / "illustrations.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    answer = client.post("/run_detect", headers=headers, data=MANIFEST | model)
    assert answer.status_code == 400
    assert answer.json["message"].startswith("model: illustrations.pt is a Git LFS pointer instead of the file: run ")
    assert client.get("/jobs", headers=headers).json["jobs"] == []


NAMES = ["absent", "best_eida.md", "folder", "folder.pt", "gone", "loop", "/etc/passwd", "*", " ", "é" * 300]
HOSTILE = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "best_eida.pt%00", "%ff%fe", "x" * 10_000]


@pytest.mark.parametrize("name", NAMES + HOSTILE)
def test_unknown_weights_are_404_and_not_tried(
    client: FlaskClient, headers: dict[str, str], folder: Path, tried: list[str], name: str
) -> None:
    (folder / "folder.pt").mkdir()
    (folder / "gone.pt").symlink_to(folder / "nowhere")
    (folder / "loop.pt").symlink_to(folder / "loop.pt")
    for answer in (client.get(f"/models/{name}"), client.post(f"/models/{name}/default", headers=headers)):
        assert answer.status_code == 404
        assert answer.json["code"] == "not_found"
        assert len(answer.json["message"]) < 300
    assert not tried


def test_a_new_default_takes_effect_at_once_and_names_the_previous_one(
    client: FlaskClient, headers: dict[str, str], folder: Path, tried: list[str], settings: Settings
) -> None:
    assert client.get("/models/default").json == {
        "default": "illustrations.pt",
        "previous": None,
        "since": None,
        "error": None,
    }
    answer = client.post("/models/other/default", headers=headers)
    assert answer.status_code == 200
    assert answer.json["message"] == "other.pt is now the default model, in place of illustrations.pt."
    assert (answer.json["default"], answer.json["previous"]) == ("other.pt", "illustrations.pt")
    again = client.post("/models/other.pt/default", headers=headers)
    assert again.json["message"] == "other.pt is the default model already."
    assert again.json["previous"] == "illustrations.pt"
    assert tried == ["other.pt", "other.pt"]
    assert client.get("/models/other").json["default"] is True
    assert client.get("/models/illustrations").json["default"] is False
    # The choice also holds after a restart and in other processes.
    other = create_app(settings)
    shown = other.test_client().get("/models/default").json
    assert shown == {key: again.json[key] for key in ("default", "previous", "since")} | {"error": None}
    other.extensions["queue"].close()
    other.extensions["services"].database.close()


def test_changing_the_default_needs_a_key(client: FlaskClient, folder: Path, tried: list[str]) -> None:
    assert client.post("/models/other/default").status_code == 400
    assert client.post("/models/other/default", headers={"X-API-Key": "no"}).status_code == 403
    assert not tried
    assert client.get("/models/default").json["default"] == "illustrations.pt"


def test_unusable_weights_do_not_become_the_default(
    client: FlaskClient, headers: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    save_records(folder / "hostile.pt", make_module(), extra=Call("posix.system", (f"mkdir {ran}",)))
    (folder / "empty.pt").touch()
    damaged = f"is not a torch checkpoint, or it is damaged: {ADVICE}."
    reasons = {
        "hostile.pt": f"contains posix.system, which is not part of a detection network: it was not loaded; {ADVICE}.",
        "empty.pt": "is empty: download or copy the file again.",
        "other.pt": damaged,  # its pickle is harmless, but it has no layers, which only torch notices
    }
    for name, reason in reasons.items():
        answer = client.post(f"/models/{name}/default", headers=headers)
        assert answer.status_code == 400
        assert answer.json == {"message": f"{name} {reason}", "code": "bad_request"}
    assert client.get("/models/default").json["default"] == "illustrations.pt"
    assert not ran.exists()


def test_usable_weights_become_the_default(client: FlaskClient, headers: dict[str, str], folder: Path) -> None:
    (folder / "good.pt").write_bytes((ROOT / "models" / "illustrations.pt").read_bytes())
    answer = client.post("/models/good/default", headers=headers)
    assert (answer.status_code, answer.json["default"]) == (200, "good.pt")


def test_without_the_default_file_requests_must_name_a_model(
    client: FlaskClient, headers: dict[str, str], folder: Path, tried: list[str]
) -> None:
    client.post("/models/other/default", headers=headers)
    (folder / "other.pt").unlink()
    shown = client.get("/models/default").json
    assert shown["default"] == "other.pt"
    assert "'other.pt' is not among the weights of this server: best_eida.pt, illustrations.pt." in shown["error"]
    assert client.get("/models/best_eida").json["default"] is False
    answer = client.post("/run_detect", headers=headers, data=MANIFEST)
    assert (answer.status_code, answer.json["message"]) == (400, shown["error"])
    assert client.post("/run_detect", headers=headers, data=MANIFEST | {"model": "best_eida"}).status_code == 200


@pytest.mark.parametrize("named", [{}, {"model": "illustrations"}])
def test_a_job_keeps_its_model_when_the_default_changes(
    app: Flask, client: FlaskClient, headers: dict[str, str], folder: Path, tried: list[str], named: dict[str, Any]
) -> None:
    before = client.post("/run_detect", headers=headers, data=MANIFEST | named).json["job_id"]
    client.post("/models/other/default", headers=headers)
    after = client.post("/run_detect", headers=headers, data=MANIFEST).json["job_id"]
    models = [client.get(f"/jobs/{job_id}", headers=headers).json["model"] for job_id in (before, after)]
    assert models == ["illustrations.pt", "other.pt"]
    assert app.extensions["services"].jobs.find(before).request["model"] == "illustrations.pt"
