"""Settings and services in the stages of detection jobs. ``test_detection_jobs.py`` tests whole jobs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.database.tables import Job
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.detector import Detector
from app.errors import FetchError, LeaseLost
from app.jobs.states import DOWNLOAD, RUN
from app.pipelines.detection import work as pipeline
from app.services import Services
from app.workers import detection_stages as detection
from tests.support.yolov5_networks import make_network, save


@pytest.fixture
def settings(settings: Any) -> Any:
    """Settings with two models; the first is the default."""
    for name in ("illustrations.pt", "other.pt"):
        save(settings.models_folder / name, model=make_network(names=[name]))
    return settings.model_copy(
        update={"trusted_hosts": ("127.0.0.1",), "host_interval_seconds": 0, "model_size": 64, "device": "cpu"}
    )


@pytest.fixture
def manifest_url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "document").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), "white").save(tmp_path / "document" / f"{number}.jpg")
    with serve(create_iiif_server(tmp_path / "document")) as url:
        yield f"{url}/manifest.json"


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Class names of every detector that runs."""
    used: list[str] = []
    detect = Detector.detect
    monkeypatch.setattr(
        Detector, "detect", lambda self, images: used.extend(self.class_names.values()) or detect(self, images)
    )
    return used


@pytest.mark.parametrize(("setting", "size"), [(None, 96), (64, 64)])
def test_the_weights_decide_the_size_of_images_and_detector(
    services: Services,
    client: FlaskClient,
    headers: dict[str, str],
    tmp_path: Path,
    setting: int | None,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services.settings = services.settings.model_copy(update={"model_size": setting})
    save(services.models.folder / "larger.pt", model=make_network(names=["larger"]), opt={"imgsz": 96})
    used: list[int] = []
    detect = Detector.detect
    monkeypatch.setattr(Detector, "detect", lambda self, images: used.append(self.config.size) or detect(self, images))
    (tmp_path / "document").mkdir()
    Image.new("RGB", (400, 300), "white").save(tmp_path / "document" / "a.jpg")
    with serve(create_iiif_server(tmp_path / "document")) as url:
        fields = {"manifest_url": f"{url}/manifest.json", "model": "larger"}
        job_id = client.post("/run_detect", headers=headers, data=fields).json["job_id"]
        job = claim(services, DOWNLOAD)
        detection.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    detection.run(services, claim(services, RUN))
    (cached,) = services.storage.images(fields["manifest_url"]).glob("*.image")
    with Image.open(cached) as image:
        assert image.size == (size * 1.25, size * 1.25 * 3 // 4)
    assert used == [size]
    assert services.jobs.find(job_id).coverage["failed"] == []


def claim(services: Services, stage: Any) -> Job:
    job = services.jobs.lease_next(stage)
    assert job is not None
    return job


def test_an_interrupted_job_keeps_the_former_default_model(
    services: Services,
    client: FlaskClient,
    headers: dict[str, str],
    manifest_url: str,
    used: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = client.post("/run_detect", headers=headers, data={"manifest_url": manifest_url}).json["job_id"]
    job = claim(services, DOWNLOAD)
    detection.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    job = claim(services, RUN)
    with monkeypatch.context() as patch:  # a worker killed after a page
        patch.setattr(pipeline, "save_annotated", lambda *_: (_ for _ in ()).throw(LeaseLost("killed")))
        with pytest.raises(LeaseLost):
            detection.run(services, job)
    services.models.set_default(services.models.find("other"))
    detection.run(services, job)
    assert set(used) == {"illustrations.pt"}
    assert services.jobs.find(job_id).model_label.startswith("illustrations_")
    client.post("/run_detect", headers=headers, data={"manifest_url": manifest_url})
    job = claim(services, DOWNLOAD)
    detection.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    detection.run(services, claim(services, RUN))
    assert used[-1] == "other.pt"


def test_a_job_that_has_lost_records_of_pages_fails_and_can_be_retried(
    services: Services, client: FlaskClient, headers: dict[str, str], manifest_url: str
) -> None:
    job_id = client.post("/run_detect", headers=headers, data={"manifest_url": manifest_url}).json["job_id"]
    job = claim(services, DOWNLOAD)
    detection.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    records = services.storage.job(job_id).path / "pages.jsonl"
    records.write_bytes(records.read_bytes()[:-5])
    job = claim(services, RUN)
    with pytest.raises(FetchError, match="The records of some pages are missing or damaged: retry the job") as caught:
        detection.run(services, job)
    services.jobs.fail(job, caught.value)
    assert client.post(f"/jobs/{job_id}/retry", headers=headers).status_code == 200
    job = claim(services, DOWNLOAD)
    detection.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    detection.run(services, claim(services, RUN))
    folder = services.storage.job(job_id)
    assert (folder.pages.list_keys(), folder.detections.list_keys()) == ({1, 2, 3}, {1, 2, 3})
