"""A store on a database of its own, queues that remember, and claims on its stages."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.database import Database, Job
from app.errors import BrokerUnavailable
from app.jobs import Claims, DetectionRequest, JobStore, Stage
from app.jobs.states import DOWNLOAD

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


def age(store: JobStore, job: Job, seconds: float = 3600, what: str = "heartbeat") -> None:
    """Make a job's last sign of life older, or another of its times."""
    with store.database.session() as session:
        session.execute(update(Job).where(Job.id == job.id).values({what: time.time() - seconds}))


def submit(store: JobStore, app_id: int = 1, url: str = REQUEST.manifest_url) -> Job:
    (job,) = store.submit(app_id, [DetectionRequest(url)])
    return job


def claimed(claims: Claims, job: Job, stage: Stage, token: str = "message") -> Job:
    """Claim a stage, which must be the given job's."""
    found = claims.claim(stage, token)
    assert found is not None
    assert found.id == job.id
    return found


def start_again(claims: Claims, job: Job, number: int) -> Job:
    """Claim the download after the try before has died, and begin its pages."""
    found = claims.claim(DOWNLOAD, f"message:{number}", dead=f"message:{number - 1}")
    assert found is not None
    assert found.id == job.id
    claims.begin_page(found)
    return found
