"""Settings and services in the stages of training jobs. ``test_training_jobs.py`` tests whole jobs."""

import pkgutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.database.tables import Job
from app.errors import DatabaseUnavailable, LeaseLost, RequestError
from app.jobs import State
from app.jobs.states import DELIVER, DOWNLOAD, RUN
from app.pipelines.training import publishing
from app.services import Services
from app.storage import write_atomic
from app.training.datasets import save_dataset
from app.training.history import load_history
from app.workers import training_stages as training
from tests.support.comet_server import KEY, Comet
from tests.support.drawn_datasets import draw_dataset
from tests.support.rows import change_job
from tests.support.small_networks import make_yolo, save_checkpoint


@pytest.fixture(autouse=True)
def _draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write curves as empty files: to draw them takes half of the time, and ``test_curves.py`` tests them."""
    monkeypatch.setattr("app.training.curves._save", lambda figure, path: write_atomic(path, b""))


@pytest.fixture
def services(app: Flask) -> Services:
    draw_dataset(app.extensions["services"].datasets.folder / "1" / "pages" / "1", train=4, val=3)
    return app.extensions["services"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    save_checkpoint(settings.models_folder / "illustrations.pt", make_yolo())
    return settings.model_copy(update={"model_size": 64, "device": "cpu", "training_batch_size": 4})


def claim(services: Services, stage: Any) -> Job:
    job = services.jobs.lease_next(stage)
    assert job is not None
    return job


def send(client: FlaskClient, headers: dict[str, str], epochs: int = 2) -> str:
    answer = client.post("/train-model", headers=headers, data={"data": "pages", "epochs": epochs})
    return answer.json["job_id"]


def copy_dataset(services: Services) -> None:
    job = claim(services, DOWNLOAD)
    training.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)


def test_a_replaced_data_set_is_checked_again(services: Services, client: FlaskClient, headers: dict[str, str]) -> None:
    send(client, headers)
    dataset = services.datasets.find(1, "pages")
    save_dataset(replace(dataset, splits={"train": dataset.splits["train"]}))
    with pytest.raises(RequestError, match="The data set pages has no pages for val"):
        training.download(services, claim(services, DOWNLOAD))


def test_a_retried_training_uses_its_copy_of_the_data_set(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = send(client, headers)
    job = claim(services, DOWNLOAD)
    training.download(services, job)
    services.datasets.remove(1, "pages")
    training.download(services, job)
    assert services.storage.job(job_id).dataset.exists()


def test_a_database_outage_costs_no_epoch(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = send(client, headers)
    copy_dataset(services)
    job, record = claim(services, RUN), services.jobs.record_progress

    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("away")

    def fail_while_learning(job: Job, done: int, total: int, coverage: dict[str, Any]) -> None:
        record(job, done, total, coverage) if "figures" in coverage else fail()

    monkeypatch.setattr("app.pipelines.training.work.HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(services.jobs, "record_activity", fail)
    monkeypatch.setattr(services.jobs, "record_progress", fail_while_learning)
    monkeypatch.setattr(services.jobs.scheduler, "must_yield", fail)
    assert training.run(services, job) is None
    job = services.jobs.find(job_id)
    assert (job.done, job.coverage["last_epoch"]["epoch"]) == (2, 2)
    services.jobs.finish_stage(job, RUN, 1.0)
    job = claim(services, DELIVER)
    training.deliver(services, job)
    name = services.jobs.find(job_id).coverage["weights"]
    assert services.models.find(name).path.with_suffix(".md").exists()


def test_requests_to_comet_carry_the_contact_of_the_operator(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, comet = services.jobs.find(send(client, headers)), Comet()
    chosen = {"comet_api_key": KEY, "comet_project_name": "illustrations", "operator_contact": "me@example.org"}
    services.settings = services.settings.model_copy(update=chosen)
    with comet.open() as url:
        monkeypatch.setattr("app.training.comet.HOME", url)
        training._open_tracker(services, job).end()
    (user_agent,) = comet.user_agents
    assert user_agent == services.settings.user_agent
    assert "me@example.org" in user_agent


def test_a_training_returns_to_its_queue_before_the_time_limit(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    send(client, headers)
    copy_dataset(services)
    services.settings = services.settings.model_copy(update={"detect_hours": 1e-9})
    assert training.run(services, claim(services, RUN)) is State.RUNNING


class Killed(BaseException):
    """Simulates the kill of the worker."""


def kill_at(patch: pytest.MonkeyPatch, target: str, call: int) -> None:
    """Raise ``Killed`` instead of making the given call of a function."""
    module, _, name = target.rpartition(".")
    owner = pkgutil.resolve_name(module)
    function, calls = getattr(owner, name), count(1)

    def call_or_die(*given: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return function(*given, **named)

    patch.setattr(owner, name, call_or_die)


def resume(services: Services, job_id: str) -> None:
    """Run the remaining stages of a training, as a worker does."""
    if services.jobs.find(job_id).lease:
        change_job(services.database, job_id, heartbeat=1.0)  # the last heartbeat of the killed worker
        services.jobs.free_abandoned()
    for stage, work in ((DOWNLOAD, training.download), (RUN, training.run), (DELIVER, training.deliver)):
        if services.jobs.find(job_id).state in stage.starts_from:
            job = claim(services, stage)
            services.jobs.finish_stage(job, stage, 1.0, work(services, job))


def test_a_training_keeps_the_size_of_its_start_weights(
    services: Services, client: FlaskClient, headers: dict[str, str]
) -> None:
    path = save_checkpoint(services.models.folder / "illustrations.pt", make_yolo(), imgsz=96)
    job_id = send(client, headers)
    services.settings = services.settings.model_copy(update={"model_size": None, "detect_hours": 1e-9})
    resume(services, job_id)
    assert services.jobs.find(job_id).state == State.RUNNING
    path.unlink()  # a resumed training does not need it
    resume(services, job_id)
    resume(services, job_id)
    name = services.jobs.find(job_id).coverage["weights"]
    assert services.weights_descriptions.describe(services.models.find(name)).input_size == 96
    assert "96 pixels" in services.models.find(name).path.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("target", "call"),
    [
        ("app.training.datasets.DatasetStore.keep", 1),
        (
            "app.training.trainer.AtomicPath.write_bytes",
            1,
        ),  # the first epoch is recorded, its checkpoint is not saved
        ("app.training.trainer.AtomicPath.write_bytes", 3),  # the same for the second epoch
        ("app.training.trainer.AtomicPath.write_bytes", 2),  # last.pt exists, best.pt does not
        ("app.pipelines.training.work.save_weights", 1),
        ("app.training.evaluate.draw_precision_recall", 1),
        ("app.training.comparison.Comparison.replace_images", 1),
        ("app.pipelines.training.publishing.write_atomic", 1),
        ("app.pipelines.training.publishing.write_atomic", 2),  # the card exists, the weights do not
        ("app.jobs.leases.Leases.record_progress", 5),  # the weights exist, the row does not name them
        ("app.storage.job_folder.shutil.rmtree", 1),
    ],
)
def test_a_training_killed_at_any_step_trains_and_publishes_once(
    services: Services,
    client: FlaskClient,
    headers: dict[str, str],
    target: str,
    call: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = send(client, headers)
    with monkeypatch.context() as patch:
        kill_at(patch, target, call)
        with pytest.raises(Killed):
            resume(services, job_id)
    resume(services, job_id)
    job, folder = services.jobs.find(job_id), services.storage.job(job_id)
    assert job.state == State.DONE
    assert [record.epoch for record in load_history(folder.history)] == [1, 2]
    assert sorted(path.name for path in services.models.folder.iterdir()) == [
        ".lock",
        "illustrations.pt",
        Path(job.coverage["weights"]).with_suffix(".md").name,
        job.coverage["weights"],
    ]
    assert {path.name for path in folder.path.iterdir()} == {"results"}


def test_a_training_cancelled_while_publishing_leaves_no_weights(
    services: Services, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, publish = send(client, headers), publishing.publish

    def cancel_afterwards(*given: Any) -> str:
        name = publish(*given)
        client.post(f"/jobs/{job_id}/cancel", headers=headers)
        return name

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish", cancel_afterwards)
        with pytest.raises(LeaseLost):
            resume(services, job_id)
    assert {path.name for path in services.models.folder.iterdir()} == {".lock", "illustrations.pt"}
    assert client.post(f"/jobs/{job_id}/retry", headers=headers).status_code == 200
    resume(services, job_id)
    assert len(list(services.models.folder.iterdir())) == 4
