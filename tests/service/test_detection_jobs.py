"""Run detection jobs end to end in real processes: API, broker, workers, schedule, a library and a client app.

The client of the manual, ``docs/client.py``, and its example request some of the jobs.
"""

import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from sqlalchemy import update
from standardwebhooks import Webhook

from app.auth import remove_secret, renew_secret
from app.config import ROOT
from app.database.sessions import Database
from app.database.tables import Delivery
from app.demo.contact_sheet import parse_annotations
from app.demo.service import find_free_port
from app.detection.boxes import compute_iou
from tests.support.hostile_requests import Harm
from tests.support.library import Answer, Library, Scan
from tests.support.manual import CLIENT_EXAMPLE, NOT_RUN, import_client, list_blocks, read_page
from tests.support.service import Document, Service, kill, open_service, unblock_page

SAMPLE = ROOT / "iiif" / "sample"
SMALL = Scan(300, 400)
# The manifest that the manual names.
MANIFEST = "https://iiif.io/api/cookbook/recipe/0009-book-1/manifest.json"


@pytest.fixture(scope="module")
def harm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the malicious weights create if their code runs."""
    return tmp_path_factory.mktemp("harm") / "done"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, harm: Path) -> Iterator[Service]:
    """A service with the default weights, and with malicious weights that run code when they are unpickled."""
    folder = tmp_path_factory.mktemp("service")
    models = folder / "models"
    models.mkdir()
    shutil.copy(ROOT / "models" / "illustrations.pt", models)
    (models / "evil.pt").write_bytes(pickle.dumps(Harm(str(harm))))
    with open_service(folder, models_folder=models) as service:
        yield service


def test_a_detection_delivers_an_annotation_file(service: Service, sample: str) -> None:
    answer = service.post("/run_detect", data={"manifest_url": sample, "experiment_id": "17"})
    job = service.wait_until_finished(answer["job_id"])
    (received,) = service.wait_for_messages()
    assert job["state"] == "done", job["error"]
    assert job["coverage"] == {"detected": 3, "empty": 1, "failed": []}
    assert received.path == "/annotate/sample"
    assert received.fields == {"model": job["model"], "experiment_id": "17"}
    text = received.files["annotation_file"][1].decode()
    assert [line for line in text.splitlines() if line.count(" ") == 1] == [
        f"{n} page_{n:04d}.jpg" for n in range(1, 5)
    ]
    assert requests.get(f"{answer['status_url']}/annotations", headers=service.headers, timeout=5).text == text


def test_a_link_opens_the_boxes_and_the_pages_without_a_key(service: Service, sample: str) -> None:
    job_id = service.detect(sample)
    service.wait_until_finished(job_id)
    link = service.post(f"/jobs/{job_id}/links")["manifest_url"]
    manifest = requests.get(link, timeout=5).json()
    regions = [note["target"] for canvas in manifest["items"] for note in canvas["annotations"][0]["items"]]
    url = link.partition("/manifest.json")[0]
    text = requests.get(f"{url}/annotations", headers=service.headers, timeout=5).text
    boxes = [line.replace(" ", ",") for line in text.splitlines() if line.count(" ") == 3]
    assert [region.partition("#xywh=")[2] for region in regions] == boxes
    page = requests.get(f"{url}/pages/1.jpg?{link.partition('?')[2]}", timeout=5)
    assert (page.status_code, page.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_the_illustrations_of_the_sample_are_detected(service: Service, sample: str) -> None:
    service.wait_until_finished(service.detect(sample))
    (received,) = service.wait_for_messages()
    found = parse_annotations(received.files["annotation_file"][1].decode())
    for name, true in json.loads((SAMPLE / "truth.json").read_text()).items():
        assert len(found[name]) == len(true), name
        if true:
            assert compute_iou(corners(true), corners(found[name])).max(axis=1).min() > 0.6, name


def test_an_uploaded_pdf_and_a_zip_at_a_url_give_the_same_boxes(service: Service, library: Library) -> None:
    pages = sorted(SAMPLE.glob("*.jpg"))
    first, *others = [Image.open(io.BytesIO(page.read_bytes())) for page in pages]
    pdf, archive = io.BytesIO(), io.BytesIO()
    first.save(pdf, "PDF", save_all=True, append_images=others, quality=95)
    with zipfile.ZipFile(archive, "w") as file:
        for page in pages:
            file.writestr(page.name, page.read_bytes())
    url = library.answer("/sample.zip", Answer(body=archive.getvalue()))
    jobs = [
        service.post("/run_detect", files={"file": ("Sample 1.pdf", pdf.getvalue())})["job_id"],
        service.detect(url),
    ]
    assert [service.wait_until_finished(job_id)["coverage"]["detected"] for job_id in jobs] == [3, 3]
    found = {each.path: each.files["annotation_file"][1].decode() for each in service.wait_for_messages(2)}
    assert found.keys() == {"/annotate/Sample_1", "/annotate/sample"}
    by_pdf, by_zip = (parse_annotations(found[path]) for path in sorted(found))
    assert [*by_pdf] == [f"Sample_1_{number:04d}.jpg" for number in range(1, 5)]
    assert [*by_zip] == [page.name for page in pages]
    for (name, boxes), others_boxes in zip(by_zip.items(), by_pdf.values(), strict=True):
        assert np.array(boxes) == pytest.approx(np.array(others_boxes), abs=10), name


def corners(xywh: Any) -> np.ndarray:
    boxes = np.array(xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def test_a_cancelled_running_job_delivers_nothing(service: Service, document: Document, sample: str) -> None:
    with service.block_page(document, 3) as page:
        job_id = service.detect(document.url)
        service.wait_for_job(job_id, lambda job: job["progress"]["done"] == 2)
        service.post(f"/jobs/{job_id}/cancel")
        unblock_page(page)
        after = service.wait_until_finished(service.detect(sample))
    assert after["state"] == "done"
    assert (service.get_job(job_id)["state"], service.get_job(job_id)["progress"]["done"]) == ("cancelled", 2)
    service.wait_for_deliveries(after["job_id"])
    assert len(service.wait_for_messages()) == 1


def test_cancelling_a_stuck_job_ends_its_process_and_the_next_job_runs(
    service: Service, document: Document, sample: str
) -> None:
    with service.block_page(document):
        job_id = service.detect(document.url)
        service.wait_for_row(job_id, lambda job: job.starts == 1)
        *_, stuck = service.find_processes("gpu@")
        service.post(f"/jobs/{job_id}/cancel")
        after = service.wait_until_finished(service.detect(sample))
    assert (after["state"], service.get_job(job_id)["state"]) == ("done", "cancelled")
    assert not stuck.is_running()


def test_a_missing_manifest_fails_the_job_with_a_message(service: Service, library: Library) -> None:
    job = service.wait_until_finished(service.detect(f"{library.url}/nowhere.json"))
    assert (job["state"], job["error"]["code"]) == ("failed", "fetch_failed")
    assert "404" in job["error"]["message"]


def test_a_document_that_is_not_a_manifest_fails_the_job(service: Service, library: Library) -> None:
    job = service.wait_until_finished(service.detect(f"{library.offer(SMALL)}/info.json"))
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_manifest")


def test_a_private_address_is_refused_with_a_message(service: Service) -> None:
    job = service.wait_until_finished(service.detect("http://169.254.169.254/manifest.json"))
    assert (job["state"], job["error"]["code"]) == ("failed", "address_refused")
    assert "TRUSTED_HOSTS" in job["error"]["message"]


def test_malicious_weights_are_refused_and_their_code_does_not_run(
    service: Service, library: Library, harm: Path
) -> None:
    form = {"manifest_url": library.offer_manifest([SMALL]), "model": "evil"}
    answer = requests.post(f"{service.api}/run_detect", headers=service.headers, data=form, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("model: evil.pt is ")
    assert not harm.exists()


def test_a_result_is_delivered_at_the_fourth_attempt_after_three_errors(service: Service, library: Library) -> None:
    service.receiver.answers += [500] * 3
    secret = renew_secret(Database(service.settings.sqlalchemy_url), "front")
    job_id = service.detect(library.offer_manifest([SMALL]))
    assert service.wait_until_finished(job_id)["state"] == "done"
    for attempts in range(1, 4):
        service.wait_for_job(job_id, lambda job, count=attempts: job["deliveries"][0]["attempts"] == count)
        make_deliveries_due(service, job_id)
    (delivery,) = service.wait_for_deliveries(job_id)
    received = service.wait_for_messages(4)
    assert (delivery["status"], delivery["attempts"], len(received)) == ("delivered", 4, 4)
    assert [attempt["http_status"] for attempt in delivery["history"]] == [500, 500, 500, 200]
    assert {each.headers["Webhook-Id"] for each in received} == {delivery["id"]}
    for each in received:
        Webhook(secret).verify(each.body, each.headers, json_parse=False)
    remove_secret(Database(service.settings.sqlalchemy_url), "front")


def make_deliveries_due(service: Service, job_id: str) -> None:
    """Make the pending deliveries of a job due now, and end the leases of killed workers on them."""
    database = Database(service.settings.sqlalchemy_url)
    pending = update(Delivery).where(Delivery.job_id == job_id, Delivery.status == "pending")
    with database.session() as session:
        session.execute(pending.values(next_attempt=0, leased_until=0))
    database.close()


def test_a_worker_killed_during_a_delivery_sends_the_same_message_again(service: Service, library: Library) -> None:
    def kill_sender() -> None:
        service.receiver.on_receive = bool
        kill(service.find_processes("post@"))

    service.receiver.on_receive = kill_sender
    job_id = service.detect(library.offer_manifest([SMALL]))
    service.wait_until_finished(job_id)
    service.wait_for_messages()
    make_deliveries_due(service, job_id)
    (delivery,) = service.wait_for_deliveries(job_id)
    assert {received.headers["Webhook-Id"] for received in service.wait_for_messages(2)} == {delivery["id"]}
    assert (delivery["status"], len(service.receiver.received)) == ("delivered", 2)


def test_jobs_finish_while_the_client_app_hangs(service: Service, library: Library) -> None:
    released = threading.Event()
    service.receiver.on_receive = lambda: released.wait(60)
    url = library.offer_manifest([SMALL])
    try:
        jobs = []
        for count in (1, 2):
            jobs.append(service.wait_until_finished(service.detect(url)))
            service.wait_for_messages(count)
        assert [service.get_job(job["job_id"])["deliveries"][0]["status"] for job in jobs] == ["pending"] * 2
    finally:
        released.set()
        service.receiver.on_receive = bool
    assert [job["state"] for job in jobs] == ["done"] * 2
    assert [service.wait_for_deliveries(job["job_id"])[0]["status"] for job in jobs] == ["delivered"] * 2


def test_job_events_are_sent_to_notify_url(service: Service, library: Library) -> None:
    notify_url = f"{service.settings.client_app_url}/news"
    done = service.detect(library.offer_manifest([SMALL]), notify_url=notify_url)
    service.wait_until_finished(done)
    service.wait_for_deliveries(done)
    failed = service.detect(f"{library.url}/nowhere.json", notify_url=notify_url)
    service.wait_until_finished(failed)
    service.wait_for_deliveries(failed)
    events = [json.loads(each.body) for each in service.receiver.received if each.path == "/news"]
    types = {event["type"] for event in events if event["data"]["job_id"] == done}
    assert {"job.started", "job.done"} <= types
    assert "job.failed" not in types
    (failure,) = [event for event in events if event["type"] == "job.failed"]
    assert (failure["data"]["job_id"], failure["data"]["error"]["code"]) == (failed, "fetch_failed")


@pytest.fixture
def secret(service: Service) -> Iterator[str]:
    """The secret with which deliveries to the client app are signed during the test."""
    database = Database(service.settings.sqlalchemy_url)
    yield renew_secret(database, "front")
    remove_secret(database, "front")
    database.close()


def run_client(service: Service, secret: str, *arguments: str) -> list[str]:
    """Run the client from the command line; return the lines that it prints."""
    environment = {
        "EXTRACTOR_URL": service.api,
        "EXTRACTOR_KEY": service.headers["X-API-Key"],
        "EXTRACTOR_SECRET": secret,
    }
    command = [sys.executable, str(CLIENT_EXAMPLE), *arguments]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def list_expected(service: Service, sample: str) -> list[str]:
    """Return the lines for the newest job on the sample, as the API describes it."""
    jobs = requests.get(f"{service.api}/jobs", headers=service.headers, timeout=10).json()["jobs"]
    (newest, *_) = [job for job in jobs if job["manifest_url"] == sample]
    url = f"{service.api}/jobs/{newest['job_id']}/annotations?format=json"
    canvases = requests.get(url, headers=service.headers, timeout=10).json()["canvases"]
    return [f"{each['number']} {each['image_name']} {[box['xywh'] for box in each['detections']]}" for each in canvases]


def test_the_client_polls_and_prints_the_boxes(service: Service, secret: str, sample: str) -> None:
    lines = run_client(service, secret, sample)
    assert lines == list_expected(service, sample)
    assert sum(line.count("], [") + line.endswith("]]") for line in lines) >= 3


def test_the_client_receives_the_event_and_prints_the_boxes(service: Service, secret: str, sample: str) -> None:
    lines = run_client(service, secret, sample, str(find_free_port()))
    assert lines == list_expected(service, sample)
    assert len(lines) == 4


def open_client(service: Service) -> Any:
    return import_client().Client(service.api, service.headers["X-API-Key"])


def test_the_client_raises_the_error_of_a_failed_job(service: Service, sample: str) -> None:
    api = open_client(service)
    with pytest.raises(import_client().JobFailed, match="404") as caught:
        api.wait(api.detect(sample.replace("manifest", "nowhere"), experiment_id="17"))
    assert caught.value.job["error"]["code"] == "fetch_failed"


def test_the_client_reports_a_refused_request(service: Service) -> None:
    with pytest.raises(import_client().ApiError, match="manifest_url") as caught:
        open_client(service).detect("nowhere")
    assert (caught.value.status, caught.value.code) == (400, "bad_request")


def test_the_client_sends_a_list_and_fetches_every_result(service: Service, sample: str) -> None:
    api = open_client(service)
    answer = api.detect_all([sample, "nowhere"])
    assert [each["line"] for each in answer["refused"]] == [2]
    (job,) = [api.wait(each["job_id"]) for each in answer["jobs"]]
    assert [each["job_id"] for each in api.list_jobs(limit=1)] == [job["job_id"]]
    assert parse_annotations(api.fetch_file(job["job_id"], "annotations", format="text").decode()) == {
        canvas["image_name"]: [tuple(each["xywh"]) for each in canvas["detections"]]
        for canvas in api.fetch_annotations(job["job_id"])["canvases"]
    }
    assert "illustrations.pt" in api.list_models()


def test_the_code_of_the_client_page_runs(
    service: Service, sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = re.sub(
        rf"{re.escape(NOT_RUN)}\n+```.*?^```$", "", read_page("docs/client.md"), flags=re.DOTALL | re.MULTILINE
    )
    code = "\n".join(list_blocks(page, "python"))
    for shown, real in (("http://127.0.0.1:5000", service.api), (MANIFEST, sample)):
        assert shown in code
        code = code.replace(shown, real)
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/api.key").write_text(f"{service.headers['X-API-Key']}\n")
    with Image.open(SAMPLE / "page_0001.jpg") as image:
        image.save("codex.pdf")
        image.crop((351, 618, 1427, 1916)).save("woodcut.png")
    import_client()
    exec(code, {})  # noqa: S102
    said = capsys.readouterr().out
    assert "page_0001.jpg [[" in said
    assert "same" in said
    assert len(parse_annotations(Path("codex.txt").read_text())["codex_0001.jpg"]) == 1
