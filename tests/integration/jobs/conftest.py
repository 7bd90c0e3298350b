"""A store on a database of its own, queues that remember, and claims on its stages."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.database.tables import Database, Job
from app.errors import BrokerUnavailable
from app.jobs import Claims, DetectionRequest, JobStore, Parts, Stage
from app.jobs.processes import name_worker
from app.jobs.states import DOWNLOAD, STAGES

REQUEST = DetectionRequest("https://example.org/manifest.json")


class Queues:
    """Remembers what was sent; refuses everything while it is down."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.down = False

    def send(self, stage: Stage, job_id: str) -> None:
        if self.down:
            raise BrokerUnavailable("down")
        self.sent.append((stage.queue, job_id))


@pytest.fixture
def queues() -> Queues:
    return Queues()


@pytest.fixture
def store(tmp_path: Path, queues: Queues) -> Iterator[JobStore]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    database.create_tables()
    yield JobStore(database, queues.send)
    database.close()


@pytest.fixture
def claims(store: JobStore) -> Claims:
    return Claims(store, stale_seconds=30, max_starts=2, host_jobs=2)


@pytest.fixture
def parts(store: JobStore) -> Parts:
    return Parts(store)


def age(store: JobStore, job: Job, seconds: float = 3600) -> None:
    """Make a job's last sign of life older."""
    with store.database.session() as session:
        session.execute(update(Job).where(Job.id == job.id).values(heartbeat=time.time() - seconds))


def die(store: JobStore, job: Job) -> None:
    """Let the process that has the claim on a job have ended, without a word."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    with store.database.session() as session:
        session.execute(update(Job).where(Job.id == job.id).values(worker=name_worker(ended.pid)))


def submit(store: JobStore, app_id: int = 1, url: str = REQUEST.manifest_url) -> Job:
    (job,) = store.submit(app_id, [DetectionRequest(url)])
    return job


def claimed(claims: Claims, job: Job, stage: Stage, message: str = "message", retries: int = 0) -> Job:
    """Claim a stage, which must be the given job's."""
    found = claims.claim(stage, message, retries)
    assert found is not None
    assert found.id == job.id
    return found


def start_again(store: JobStore, claims: Claims, job: Job, retries: int) -> Job:
    """Claim the download after the try before has died, and begin its pages."""
    if retries:
        die(store, job)
    found = claimed(claims, job, DOWNLOAD, "message", retries)
    claims.begin_page(found)
    return found


def finish(claims: Claims, job: Job, failed: int = 1) -> Job:
    """Take a job to its end, with some canvases that could not be fetched."""
    coverage = {"detected": 2, "empty": 0, "failed": [{"canvas_number": 3, "reason": "gone"}] * failed}
    for stage in STAGES:
        job = claimed(claims, job, stage)
        claims.record_progress(job, 3, 3, coverage)
        claims.hand_over(job, stage, 1)
    return job
