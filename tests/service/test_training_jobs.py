"""Run trainings and tests of weights end to end in real processes: from labelled pages to weights and reports."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.weights import load_network
from app.training.history import load_history
from tests.support.comparing import draw
from tests.support.drawn_datasets import draw_dataset
from tests.support.library import Answer, Library
from tests.support.manual import import_client
from tests.support.service import Service, kill, open_service
from tests.support.small_networks import make_yolo, save_checkpoint

YAML = b"names: [illustration]\npath: /somewhere/else\ndownload: rm -rf /\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a tiny untrained model and a data set."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "models").mkdir()
    save_checkpoint(folder / "models" / "start.pt", make_yolo())
    settings: dict[str, Any] = {"models_folder": folder / "models", "default_model": "start.pt", "model_size": 64}
    settings |= {"training_batch_size": 4, "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MPLCONFIGDIR", "YOLO_CONFIG_DIR"):  # other tests may have set them
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(folder / "home"))
        (folder / "home").mkdir()
        # stale_seconds: importing torch must not take longer than the lease, even on a busy machine.
        with open_service(folder / "data", stale_seconds=30, **settings) as service:
            dataset = draw_dataset(folder / "pages")
            files = {"dataset_zip": pack(dataset.folder), "yaml_file": ("pages.yaml", YAML)}
            service.post("/send-dataset", files=files)
            yield service


def pack(folder: Path) -> tuple[str, bytes]:
    """Return the name and content of a zip file with the ``images/`` and ``labels/`` of a folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.glob("[il]*/*/*")):
            archive.write(path, path.relative_to(folder))
    return "pages.zip", content.getvalue()


def train(service: Service, **fields: Any) -> str:
    """Request a training on the data set of the fixture; return the ID of the job."""
    job_id: str = service.post("/train-model", data={"data": "pages", "epochs": 3} | fields)["job_id"]
    return job_id


def get(service: Service, path: str) -> requests.Response:
    answer = requests.get(f"{service.api}{path}", headers=service.headers, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_training_publishes_weights_with_a_card(service: Service) -> None:
    job_id = train(service, name="mine")
    job = service.wait_until_finished(job_id)
    assert (job["state"], job["weights"]) == ("done", "mine.pt"), job["error"]
    assert job["progress"]["done"] == job["progress"]["total"] == 3
    assert job["last_epoch"]["epoch"] == 3
    assert job["figures"]["val"]["overall"]["illustrations"] == 4
    assert job["figures_before"]["val"]["overall"]["illustrations"] == 4
    assert "mine.pt" in get(service, "/models").json()
    network = load_network(service.settings.models_folder / "mine.pt")
    assert network.names == {0: "illustration"}
    assert network.args["box_voting"] is True
    card = (service.settings.models_folder / "mine.md").read_text()
    assert "12 pages, 8 illustrations, 4 pages without illustrations" in card
    assert card.count("| all | 4 |") == 2
    assert "## The start weights on the same pages" in card
    assert f"| share of the new weights | {job['share']:.0%}" in card
    files = {file["name"]: file["url"] for file in get(service, f"/jobs/{job_id}/files").json()["files"]}
    assert {"history.jsonl", "training.png", "weights.pt", "val/report.json", "before/val/curve.png"} <= files.keys()
    curve = Image.open(io.BytesIO(get(service, files["training.png"]).content))
    assert curve.format == "PNG"
    folder = service.storage.job(job_id)
    assert not folder.dataset.exists()
    assert not folder.training.exists()

    assert list((service.settings.data_folder.parent / "home").rglob("*")) == []
    assert (service.settings.data_folder / "ultralytics" / "matplotlib").is_dir()
    (worker,) = service.find_processes("post@")[:1]
    assert not [file.path for file in worker.memory_maps() if "libtorch" in file.path]


def test_a_killed_training_resumes_after_its_last_epoch(service: Service) -> None:
    job_id = train(service, epochs=6)
    service.wait_for_job(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 2)
    *_, child = service.find_processes("gpu@")
    child.suspend()
    assert service.get_job(job_id)["state"] == "running"
    kill([child])
    job = service.wait_until_finished(job_id)
    assert job["state"] == "done", job["error"]
    history = load_history(service.storage.job(job_id).history)
    assert [record.epoch for record in history] == [1, 2, 3, 4, 5, 6]
    log = (service.settings.data_folder / "logs" / "gpu.log").read_text()
    assert log.count(f"job {job_id}: epoch 1 of 6 is over") == 1
    assert service.read_run_order([job_id]) == [job_id] * 2
    names = [name for name in get(service, "/models").json() if job_id[:8] in name]
    assert names == [job["weights"]]


def test_a_cancelled_training_stops_and_leaves_no_weights(service: Service) -> None:
    before = get(service, "/models").json()
    job_id = train(service, epochs=10_000)
    service.wait_for_job(job_id, lambda job: job["progress"]["done"] >= 1)
    service.post(f"/jobs/{job_id}/cancel")
    other = service.wait_until_finished(train(service, epochs=1, name="after"))
    assert other["state"] == "done", other["error"]
    assert get(service, "/models").json().keys() == before.keys() | {"after.pt"}
    assert service.get_job(job_id)["state"] == "cancelled"


def test_a_training_pauses_for_a_detection_and_resumes(service: Service, library: Library) -> None:
    job_id = train(service, epochs=12)
    service.wait_for_job(job_id, lambda job: job["progress"]["done"] >= 1)
    image = library.answer("/1.png", Answer(body=draw(1, (300, 400))))
    canvas = {"id": "c", "type": "Canvas", "items": [{"items": [{"body": {"id": image, "type": "Image"}}]}]}
    manifest = library.answer("/manifest.json", Answer(body={"type": "Manifest", "id": "x", "items": [canvas]}))
    detection = service.wait_until_finished(service.detect(manifest))
    assert detection["state"] == "done", detection["error"]
    assert not service.get_job(job_id)["finished"]
    job = service.wait_until_finished(job_id)
    assert job["state"] == "done", job["error"]
    assert len(load_history(service.storage.job(job_id).history)) == 12
    order = service.read_run_order([job_id, detection["job_id"]])
    assert order[0] == order[-1] == job_id


def test_a_test_job_evaluates_weights_on_labelled_pages(service: Service) -> None:
    job_id = service.post("/test-model", data={"dataset": "pages", "save_dir": "look"})["job_id"]
    job = service.wait_until_finished(job_id)
    assert (job["state"], job["save_dir"]) == ("done", "look"), job["error"]
    assert job["progress"]["done"] == job["progress"]["total"] == 6
    overall = job["figures"]["overall"]
    assert (overall["illustrations"], job["figures"]["pages"], job["figures"]["empty_pages"]) == (4, 6, 2)
    names = {file["name"] for file in get(service, f"/jobs/{job_id}/files").json()["files"]}
    assert {"report.json", "curve.png"} <= names
    assert len([name for name in names if name.startswith("images/")]) == 4
    assert len([name for name in names if name.startswith("images-without-truth/")]) == 2


def test_the_client_uploads_a_data_set_trains_and_evaluates(service: Service, tmp_path: Path) -> None:
    api = import_client().Client(service.api, service.headers["X-API-Key"])
    dataset, yaml = tmp_path / "pages.zip", tmp_path / "pages.yaml"
    dataset.write_bytes(pack(draw_dataset(tmp_path / "pages").folder)[1])
    yaml.write_bytes(YAML)
    uploaded = api.upload_dataset(dataset, yaml, name="sent")
    assert (uploaded["name"], uploaded["classes"]) == ("sent", ["illustration"])
    trained = api.wait(api.train("sent", 1, name="sent-1"))
    assert trained["weights"] == "sent-1.pt"
    assert "sent-1.pt" in api.list_models()
    evaluated = api.wait(api.evaluate("sent", model="sent-1.pt"))
    assert evaluated["figures"]["overall"]["illustrations"] == 4
    assert "curve.png" in api.list_files(evaluated["job_id"])
    assert api.fetch_file(evaluated["job_id"], "files/curve.png").startswith(b"\x89PNG")


def test_corrected_pages_train_weights_that_are_compared(service: Service, tmp_path: Path) -> None:
    for number in range(1, 7):
        page = Image.new("RGB", (200, 240), "white")
        page.paste("black", (40, 60, 140, 160))
        page.save(tmp_path / f"{number}.jpg")
    with serve(create_iiif_server(tmp_path)) as library:
        detection = service.detect(f"{library}/manifest.json")
        assert service.wait_until_finished(detection)["state"] == "done"
    for number in range(1, 7):
        url = f"{service.api}/jobs/{detection}/corrections/{number}"
        body = {"boxes": [{"xywh": [40, 60, 100, 100]}], "by": "Ada"}
        assert requests.put(url, headers=service.headers, json=body, timeout=10).status_code == 200
    dataset = service.post(f"/jobs/{detection}/dataset", data={"name": "corrected"})["dataset"]
    assert [split["images"] for split in dataset["splits"].values()] == [5, 1]
    before = service.post("/test-model", data={"dataset": "corrected", "split": "val"})["job_id"]
    after = train(service, data="corrected", epochs=1, name="learned")
    for job_id in (before, after):
        job = service.wait_until_finished(job_id)
        assert job["state"] == "done", job["error"]
        figures = job["figures"] if job_id == before else job["figures"]["val"]
        assert figures["overall"]["illustrations"] == 1
