"""Settings and services in the stages of evaluation jobs. ``test_training_jobs.py`` tests whole jobs."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.database.tables import Job
from app.detection.detector import Detector
from app.jobs.states import DOWNLOAD, RUN
from app.services import Services
from app.workers import evaluation_stages as evaluation
from tests.support.drawn_datasets import draw_dataset
from tests.support.rows import change_job
from tests.support.small_networks import make_yolo, save_checkpoint


@pytest.fixture
def services(app: Flask) -> Services:
    draw_dataset(app.extensions["services"].datasets.folder / "1" / "pages" / "1", train=1, val=3)
    return app.extensions["services"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    save_checkpoint(settings.models_folder / "illustrations.pt", make_yolo())
    return settings.model_copy(update={"model_size": 64, "device": "cpu", "batch_size": 2})


def claim(services: Services, stage: Any) -> Job:
    job = services.jobs.lease_next(stage)
    assert job is not None
    return job


def test_weights_are_evaluated_at_their_own_size(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    services.settings = services.settings.model_copy(update={"model_size": None})
    save_checkpoint(services.models.folder / "illustrations.pt", make_yolo(), imgsz=[96, 64])
    used: list[int] = []
    detect = Detector.detect
    monkeypatch.setattr(Detector, "detect", lambda self, images: used.append(self.config.size) or detect(self, images))
    client.post("/test-model", headers=headers, data={"dataset": "pages"})
    job = claim(services, DOWNLOAD)
    evaluation.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    evaluation.run(services, claim(services, RUN))
    assert set(used) == {96}


def test_an_unreadable_page_is_reported_and_counted(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = client.post("/test-model", headers=headers, data={"dataset": "pages"}).json["job_id"]
    job = claim(services, DOWNLOAD)
    evaluation.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    (services.storage.job(job_id).dataset / "images" / "val" / "1.jpg").write_bytes(b"damaged")
    evaluation.run(services, claim(services, RUN))
    job = services.jobs.find(job_id)
    assert (job.done, job.total) == (3, 3)
    assert [page["image_name"] for page in job.coverage["figures"]["unreadable"]] == ["1.jpg"]


def test_the_intervals_of_an_evaluation_count_as_activity(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/test-model", headers=headers, data={"dataset": "pages"})
    job = claim(services, DOWNLOAD)
    evaluation.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    record, stalled = services.jobs.record_activity, []

    def record_after_an_hour(job: Job) -> None:
        change_job(services.database, job.id, stalled=3600.0)
        record(job)
        stalled.append(services.jobs.find(job.id).stalled)

    monkeypatch.setattr(services.jobs, "record_activity", record_after_an_hour)
    evaluation.run(services, claim(services, RUN))
    assert stalled == [0.0] * 41


def test_a_retried_evaluation_uses_its_copy_of_the_data_set(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = client.post("/test-model", headers=headers, data={"dataset": "pages"}).json["job_id"]
    job = claim(services, DOWNLOAD)
    evaluation.download(services, job)
    services.datasets.remove(1, "pages")
    evaluation.download(services, job)
    assert services.storage.job(job_id).dataset.exists()
