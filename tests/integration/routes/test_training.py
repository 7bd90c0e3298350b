from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth import add_app
from tests.support.drawn_datasets import draw_dataset
from tests.support.rows import change_job


@pytest.fixture(autouse=True)
def _dataset(app: Flask, headers: dict[str, str]) -> None:
    """The first client app has a data set with pages for train and val, none for test."""
    draw_dataset(app.extensions["services"].datasets.folder / "1" / "pages" / "1")


def train(client: FlaskClient, headers: dict[str, str], **fields: str) -> tuple[int, dict[str, str]]:
    answer = client.post("/train-model", headers=headers, data={"data": "pages", "epochs": "3"} | fields)
    return answer.status_code, answer.json


def test_a_training_is_queued_and_described(client: FlaskClient, headers: dict[str, str]) -> None:
    status, answer = train(client, headers, model="illustrations", name="mine")
    assert (status, answer["message"]) == (200, "The training is queued: 3 epochs on the data set pages.")
    job = client.get(answer["status_url"], headers=headers).json
    assert (job["kind"], job["state"]) == ("training", "queued")
    assert (job["data"], job["epochs"], job["model"]) == ("pages", 3, "illustrations.pt")
    assert (job["weights"], job["last_epoch"], job["figures"]) == (None, None, None)
    assert client.get("/jobs", headers=headers).json["jobs"][0]["job_id"] == answer["job_id"]


def test_an_evaluation_is_queued_and_described(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/test-model", headers=headers, data={"dataset": "pages.yaml", "save_dir": "look"})
    assert (answer.status_code, answer.json["message"]) == (
        200,
        "The evaluation is queued: pages for val of the data set pages.",
    )
    job = client.get(answer.json["status_url"], headers=headers).json
    assert (job["kind"], job["dataset"], job["save_dir"], job["figures"]) == ("test", "pages", "look", None)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"data": "others"}, "'others' is not among your data sets: pages."),
        ({"model": "unknown"}, "model 'unknown' is not among the weights of this server: illustrations.pt."),
        ({"epochs": "0"}, "epochs must be a whole number from 1 to 10000, not 0."),
        ({"name": "illustrations"}, "name: weights illustrations.pt already exist; choose another name."),
        ({"notify_url": "nowhere"}, "notify_url is not a web address"),
    ],
)
def test_an_invalid_training_request_is_400(
    client: FlaskClient, headers: dict[str, str], fields: dict[str, str], sentence: str
) -> None:
    status, answer = train(client, headers, **fields)
    assert status == 400
    assert answer["message"].startswith(sentence)
    assert client.get("/jobs", headers=headers).json["jobs"] == []


def test_an_evaluation_needs_pages_for_its_split(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/test-model", headers=headers, data={"dataset": "pages", "split": "test"})
    assert answer.status_code == 400
    assert answer.json["message"] == "The data set pages has no pages for test: it has train, val."


def test_training_and_evaluation_need_a_key(client: FlaskClient) -> None:
    assert client.post("/train-model", data={"data": "pages", "epochs": "3"}).status_code == 400
    assert client.post("/test-model", headers={"X-API-Key": "guess"}).status_code == 403


def test_another_client_app_sees_neither_data_sets_nor_files(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    other = {"X-API-Key": add_app(app.extensions["services"].database, "other")}
    status, answer = train(client, other)
    assert (status, answer["message"]) == (400, "'pages' is not among your data sets: none.")
    _, mine = train(client, headers)
    assert client.get(f"/jobs/{mine['job_id']}/files", headers=other).status_code == 404
    assert client.get(f"/jobs/{mine['job_id']}/files/curve.png", headers=other).status_code == 404


def test_the_files_of_a_job_are_listed_and_downloaded(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    _, answer = train(client, headers)
    folder = app.extensions["services"].storage.job(answer["job_id"])
    (folder.results / "val" / "images").mkdir(parents=True)
    (folder.results / "val" / "images" / "1 é.jpg").write_bytes(b"picture")
    (folder.results / ".part-x").write_bytes(b"half")
    (folder.results / "val" / ".new").mkdir()
    (folder.results / "val" / ".new" / "1.jpg").write_bytes(b"being written by an evaluation")
    (folder.results / "gone.png").symlink_to("just replaced")
    (folder.path / "secret").write_bytes(b"other")
    path = f"/jobs/{answer['job_id']}/files"
    (file,) = client.get(path, headers=headers).json["files"]
    assert (file["name"], file["size"]) == ("val/images/1 é.jpg", 7)
    sent = client.get(file["url"], headers=headers)
    assert (sent.data, sent.mimetype) == (b"picture", "image/jpeg")
    sent.close()
    for name in ("absent.png", "../secret", "%2e%2e/secret", ".part-x", "val"):
        assert client.get(f"{path}/{name}", headers=headers).status_code == 404, name


def test_a_finished_training_cannot_be_retried(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    _, answer = train(client, headers)
    change_job(app.extensions["services"].database, answer["job_id"], state="done", finished=1.0)
    again = client.post(f"/jobs/{answer['job_id']}/retry", headers=headers)
    assert again.status_code == 400
    assert again.json["message"].endswith("is a training that is done: there is nothing to try again.")


def test_a_failed_training_is_retried(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    _, answer = train(client, headers)
    change_job(app.extensions["services"].database, answer["job_id"], state="failed", finished=1.0)
    assert client.post(f"/jobs/{answer['job_id']}/retry", headers=headers).status_code == 200


def test_data_sets_are_stored_in_the_data_folder(app: Flask) -> None:
    assert (
        app.extensions["services"].datasets.folder == Path(app.extensions["services"].settings.data_folder) / "datasets"
    )


@pytest.mark.parametrize("path", ["nothing.png", ".part-1"])
def test_a_missing_file_is_answered_with_404_and_its_name(
    client: FlaskClient, headers: dict[str, str], path: str
) -> None:
    _, answer = train(client, headers)
    missing = client.get(f"/jobs/{answer['job_id']}/files/{path}", headers=headers)
    assert missing.status_code == 404
    assert "has no file" in missing.json["message"]
