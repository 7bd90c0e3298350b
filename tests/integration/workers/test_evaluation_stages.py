"""How the stages of a test of weights are joined to the settings; the whole way is in test_training_jobs.py."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.database.tables import Job
from app.jobs.states import DETECT, DOWNLOAD
from app.workers import evaluation_stages as evaluation
from app.workers.queue import TaskQueue
from tests.support.drawn_datasets import draw_dataset
from tests.support.yolov8_networks import make_yolo, save_checkpoint


@pytest.fixture
def queue(app: Flask) -> TaskQueue:
    draw_dataset(app.extensions["datasets"].folder / "1" / "pages" / "1", train=1, val=3)
    return app.extensions["queue"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    save_checkpoint(settings.models_folder / "illustrations.pt", make_yolo())
    return settings.model_copy(update={"model_size": 64, "device": "cpu", "batch_size": 2})


def claim(queue: TaskQueue, stage: Any) -> Job:
    job = queue.claims.claim(stage, "message")
    assert job is not None
    return job


def test_a_page_that_cannot_be_read_is_told_and_counted_as_looked_at(
    queue: TaskQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = client.post("/test-model", headers=headers, data={"dataset": "pages"}).json["job_id"]
    job = claim(queue, DOWNLOAD)
    evaluation.download(queue, job)
    queue.claims.hand_over(job, DOWNLOAD, 1.0)
    (queue.storage.job(job_id).dataset / "images" / "val" / "1.jpg").write_bytes(b"damaged")
    evaluation.run(queue, claim(queue, DETECT))
    job = queue.jobs.find(job_id)
    assert (job.done, job.total) == (3, 3)
    assert [page["image_name"] for page in job.coverage["figures"]["unreadable"]] == ["1.jpg"]


def test_a_test_tried_again_needs_no_data_set_that_it_has_kept(
    queue: TaskQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = client.post("/test-model", headers=headers, data={"dataset": "pages"}).json["job_id"]
    job = claim(queue, DOWNLOAD)
    evaluation.download(queue, job)
    queue.datasets.remove(1, "pages")
    evaluation.download(queue, job)
    assert queue.storage.job(job_id).dataset.exists()
