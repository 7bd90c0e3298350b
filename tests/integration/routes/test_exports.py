import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from app.auth import add_app, find_app, renew_app
from app.exports import FORMATS
from app.jobs.requests.reading import get_schema
from app.jobs.states import STAGES
from app.routes.exports import AnnotationsQuery
from app.server.signed_links import build_query
from app.services import Services
from app.storage import JobFolder, Storage, write_atomic
from tests.support.archives import make_image, make_zip, open_zip
from tests.support.exported_results import BASE, ODD, PAGES, SOURCE, save_result
from tests.support.rows import change_job

CORS = "Access-Control-Allow-Origin"


@pytest.fixture
def waiting(client: FlaskClient, headers: dict[str, str]) -> str:
    """A detection job in state queued."""
    job_id: str = client.post("/run_detect", headers=headers, data={"manifest_url": SOURCE}).json["job_id"]
    return job_id


@pytest.fixture
def folder(services: Services, waiting: str) -> JobFolder:
    return services.storage.job(waiting)


@pytest.fixture
def done(services: Services, waiting: str, folder: JobFolder) -> str:
    """A detection job in state done. The image of page 1 is cached as JPEG, that of page 4 as PNG."""
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    change_job(services.database, waiting, manifest_ref="ms é", model_label="eida_04_2024")
    *most, last = PAGES
    save_result(folder, [*most, replace(last, boxes=(replace(ODD, class_name="=odd"),))])
    images = services.storage.images(SOURCE)
    for number, kind, file in ((1, "JPEG", "1.image"), (3, "", None), (4, "PNG", "4.image")):
        folder.pages.save({number: {"number": number, "file": file}})
        if file:
            write_atomic(images / file, make_image(kind, (30, 20)))
    return waiting


@pytest.fixture
def link(client: FlaskClient, headers: dict[str, str], done: str) -> str:
    """The path and query of a link to the manifest of that job."""
    answer = client.post(f"/jobs/{done}/links", headers=headers)
    assert answer.status_code == 200
    return cut_host(answer.json["manifest_url"])


def cut_host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.mark.parametrize(
    ("form", "media_type", "ending"),
    [
        ("iiif", "application/ld+json", "-iiif.json"),
        ("iiif2", "application/ld+json", "-iiif2.json"),
        ("page", "application/zip", "-page.zip"),
        ("alto", "application/zip", "-alto.zip"),
        ("coco", "application/json", "-coco.json"),
        ("yolo", "application/zip", "-yolo.zip"),
        ("csv", "text/csv", ".csv"),
    ],
)
def test_each_format_is_a_file_with_a_name(
    client: FlaskClient, headers: dict[str, str], done: str, form: str, media_type: str, ending: str
) -> None:
    answer = client.get(f"/jobs/{done}/annotations?format={form}", headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, media_type)
    assert f"ms%20%C3%A9{ending}" in answer.headers["Content-Disposition"]
    assert CORS not in answer.headers


def test_the_route_offers_every_format() -> None:
    assert get_schema(AnnotationsQuery)["format"]["enum"] == list(FORMATS)


@pytest.mark.parametrize("path", ["annotations?format=coco", "manifest.json", "pages/1.jpg", "links"])
def test_exports_of_another_client_app_are_404(app: Flask, client: FlaskClient, done: str, path: str) -> None:
    stranger = {"X-API-Key": add_app(app.extensions["services"].database, "stranger")}
    method = client.post if path == "links" else client.get
    assert method(f"/jobs/{done}/{path}", headers=stranger).status_code == 404


@pytest.mark.parametrize("path", ["annotations?format=iiif", "manifest.json"])
def test_exports_of_an_unfinished_job_are_400(
    client: FlaskClient, headers: dict[str, str], waiting: str, path: str
) -> None:
    answer = client.get(f"/jobs/{waiting}/{path}", headers=headers)
    assert (answer.status_code, "no annotations yet" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize("path", ["manifest.json", "pages/1.jpg", "links"])
def test_a_comparison_has_no_manifest_and_no_pages(client: FlaskClient, headers: dict[str, str], path: str) -> None:
    job_id = client.post("/run_similarity", headers=headers, json={"documents": {"a": SOURCE}}).json["job_id"]
    answer = (client.post if path == "links" else client.get)(f"/jobs/{job_id}/{path}", headers=headers)
    assert (answer.status_code, "similarity" in answer.json["message"]) == (404, True)


def test_a_link_opens_the_manifest_without_a_key(client: FlaskClient, link: str) -> None:
    answer = client.get(link)
    assert (answer.status_code, answer.headers[CORS]) == (200, "*")
    manifest = json.loads(answer.data)
    assert len(manifest["items"]) == len(PAGES)
    assert cut_host(manifest["id"]) == link, "a viewer asks for this URL again"


def test_a_link_opens_the_images_of_the_same_manifest(client: FlaskClient, link: str) -> None:
    *_, last = json.loads(client.get(link).data)["items"]
    answer = client.get(cut_host(last["items"][0]["items"][0]["body"]["id"]))
    assert (answer.status_code, answer.mimetype, answer.headers[CORS]) == (200, "image/jpeg", "*")


def test_images_in_a_manifest_that_was_read_with_a_key_have_a_link(
    client: FlaskClient, headers: dict[str, str], done: str
) -> None:
    answer = client.get(f"/jobs/{done}/manifest.json", headers=headers)
    assert CORS not in answer.headers
    *_, last = json.loads(answer.data)["items"]
    assert client.get(cut_host(last["items"][0]["items"][0]["body"]["id"])).status_code == 200


def spoil(link: str, old: str, new: str) -> str:
    assert old in link
    return link.replace(old, new)


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.partition("&expires")[0],
        lambda link: spoil(link, "expires=", "expires=9"),
        lambda link: spoil(link, "expires=", "expires=-"),
        lambda link: spoil(link, "expires=", "expires=²"),
        lambda link: spoil(link, "signature=", "signature=A"),
        lambda link: spoil(link, "signature=", "signature=é%00"),
        lambda link: f"{link.partition('?')[0]}?signature=&expires=99999999999",
        lambda link: spoil(link, "/jobs/", "/jobs/0"),
        lambda link: f"/jobs/{'0' * 32}/manifest.json?{link.partition('?')[2]}",
        lambda link: f"/jobs/%00/manifest.json?{link.partition('?')[2]}",
    ],
)
def test_a_changed_link_is_403(client: FlaskClient, link: str, change: Callable[[str], str]) -> None:
    answer = client.get(change(link))
    assert (answer.status_code, answer.json["code"]) == (403, "wrong_key")
    assert CORS not in answer.headers


def test_a_link_does_not_open_another_job(client: FlaskClient, headers: dict[str, str], link: str) -> None:
    other = client.post("/run_detect", headers=headers, data={"manifest_url": f"{BASE}/2"}).json["job_id"]
    assert client.get(f"/jobs/{other}/manifest.json?{link.partition('?')[2]}").status_code == 403


@pytest.mark.parametrize("path", ["", "/annotations", "/files", "/links"])
def test_a_link_opens_nothing_but_manifest_and_pages(client: FlaskClient, link: str, done: str, path: str) -> None:
    query = link.partition("?")[2]
    answer = client.open(f"/jobs/{done}{path}?{query}", method="POST" if path == "/links" else "GET")
    assert (answer.status_code, answer.json["code"]) == (400, "missing_key")


def test_without_key_and_link_the_manifest_is_400(client: FlaskClient, done: str) -> None:
    assert client.get(f"/jobs/{done}/manifest.json").json["code"] == "missing_key"


def test_an_expired_link_is_403(app: Flask, client: FlaskClient, headers: dict[str, str], done: str) -> None:
    owner = find_app(app.extensions["services"].database, headers["X-API-Key"])
    with app.test_request_context():
        query = build_query(done, owner, int(time.time()) - 1)
    answer = client.get(f"/jobs/{done}/manifest.json{query}")
    assert (answer.status_code, "expired" in answer.json["message"]) == (403, True)


def test_a_new_key_ends_all_links(services: Services, client: FlaskClient, link: str) -> None:
    renew_app(services.database, "front")
    assert client.get(link).status_code == 403


@pytest.mark.parametrize("days", ["0", "-1", "366", "1e9", "x", "9" * 40, "²"])
def test_a_link_for_an_odd_number_of_days_is_400(
    client: FlaskClient, headers: dict[str, str], done: str, days: str
) -> None:
    answer = client.post(f"/jobs/{done}/links", headers=headers, data={"days": days})
    assert (answer.status_code, answer.json["message"].startswith("days")) == (400, True)


def test_a_link_lasts_as_long_as_requested(client: FlaskClient, headers: dict[str, str], done: str) -> None:
    answer = client.post(f"/jobs/{done}/links", headers=headers, json={"days": 30}).json
    seconds = int(answer["manifest_url"].rpartition("=")[2]) - time.time()
    assert 29 * 86400 < seconds <= 30 * 86400
    assert answer["message"] == "Anyone can open this link for 30 days."


def test_all_processes_sign_with_the_same_secret(tmp_path: Path) -> None:
    secrets = {Storage(tmp_path / "data").load_link_secret() for _ in range(3)}
    assert [len(secret) for secret in secrets] == [32]
    assert (tmp_path / "data" / "link-secret").stat().st_mode & 0o077 == 0, "others may not read it"


def test_the_image_of_a_page_is_a_jpeg(client: FlaskClient, headers: dict[str, str], done: str) -> None:
    for number in (1, 4):
        answer = client.get(f"/jobs/{done}/pages/{number}.jpg", headers=headers)
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
        with Image.open(io.BytesIO(answer.data)) as image:
            assert (image.format, image.size) == ("JPEG", (30, 20))


@pytest.mark.parametrize("number", ["2", "3", "0", "01", "-1", "1.0", "²", "9" * 30, "%00", "..%2F1", "x"])
def test_a_page_without_a_cached_image_is_404(
    client: FlaskClient, headers: dict[str, str], done: str, number: str
) -> None:
    answer = client.get(f"/jobs/{done}/pages/{number}.jpg", headers=headers)
    assert answer.status_code == 404


def test_a_removed_or_damaged_page_image_is_404(
    client: FlaskClient, headers: dict[str, str], services: Services, done: str
) -> None:
    images = services.storage.images(SOURCE)
    (images / "1.image").unlink()
    (images / "4.image").write_bytes(b"\x89PNG\r\n\x1a\n")
    for number in (1, 4):
        answer = client.get(f"/jobs/{done}/pages/{number}.jpg", headers=headers)
        assert (answer.status_code, "no cached image" in answer.json["message"]) == (404, True)


def upload(client: FlaskClient, headers: dict[str, str], files: dict[str, bytes], yaml: bytes) -> TestResponse:
    """Upload exported labels with the images of the pages that did not fail."""
    form: dict[str, Any] = {
        "dataset_zip": (make_zip(files), "dataset.zip"),
        "yaml_file": (io.BytesIO(yaml), "ms.yaml"),
        "action": "train",
    }
    return client.post("/send-dataset", headers=headers, data=form)


def draw_images(names: list[str]) -> dict[str, bytes]:
    sizes = [(page.width or 0, page.height or 0) for page in PAGES if page.width]
    return {f"images/{name}": make_image("JPEG", size) for name, size in zip(names, sizes, strict=True)}


def test_exported_coco_labels_are_a_data_set(client: FlaskClient, headers: dict[str, str], done: str) -> None:
    labels = client.get(f"/jobs/{done}/annotations?format=coco", headers=headers)
    names = [image["file_name"] for image in labels.json["images"]]
    yaml = json.dumps({"names": [category["name"] for category in labels.json["categories"]]}).encode()
    answer = upload(client, headers, {"annotations.json": labels.data, **draw_images(names)}, yaml)
    assert answer.status_code == 200, answer.json
    assert answer.json["dataset"]["splits"]["train"] == {"images": 3, "illustrations": 3, "empty": 1}


def test_exported_yolo_labels_are_a_data_set(client: FlaskClient, headers: dict[str, str], done: str) -> None:
    files = open_zip(client.get(f"/jobs/{done}/annotations?format=yolo", headers=headers).data)
    yaml = files.pop("data.yaml")
    files.pop("failed.txt")
    names = [Path(name).stem + ".jpg" for name in files]
    answer = upload(client, headers, files | draw_images(names), yaml)
    assert answer.status_code == 200, answer.json
    assert answer.json["dataset"]["classes"][:2] == ["illustration", "initial"]
    assert answer.json["dataset"]["splits"]["train"] == {"images": 3, "illustrations": 3, "empty": 1}


def test_ultralytics_reads_exported_yolo_labels(
    client: FlaskClient, headers: dict[str, str], done: str, tmp_path: Path
) -> None:
    from app.detection.weights import isolate_ultralytics

    isolate_ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    files = open_zip(client.get(f"/jobs/{done}/annotations?format=yolo", headers=headers).data)
    names = [Path(name).stem + ".jpg" for name in files if name.startswith("labels/")]
    for name, content in (files | draw_images(names)).items():
        write_atomic(tmp_path / name, content)
    described = check_det_dataset(str(tmp_path / "data.yaml"), autodownload=False)
    dataset = YOLODataset(described["train"], data=described, augment=False, imgsz=64)
    read = {Path(label["im_file"]).name: label for label in dataset.labels}
    assert read["a.jpg"]["bboxes"][0].tolist() == pytest.approx([0.25, 0.5, 0.3, 0.5])
    assert read["a.jpg"]["cls"].ravel().tolist() == [0, 1]
    assert len(read["b.jpg"]["bboxes"]) == 0
    assert described["names"][1] == "initial"
