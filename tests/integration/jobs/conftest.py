"""Jobs with their own database, and helpers that move a job through its stages."""

import subprocess
import time

import pytest

from app.database.sessions import Database
from app.database.tables import Job
from app.jobs import Jobs, Stage
from app.jobs.processes import name_process
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD, STAGES
from tests.support.recording_queue import RecordingQueue
from tests.support.rows import change_job

REQUEST = DetectionRequest("https://example.org/manifest.json")


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture
def jobs(database: Database, queue: RecordingQueue) -> Jobs:
    return Jobs(database, queue, stale_seconds=30, host_jobs=2)


def change(jobs: Jobs, job: Job, **values: object) -> None:
    """Change a job's row directly, without the service."""
    change_job(jobs.database, job.id, **values)


def age(jobs: Jobs, job: Job, seconds: float = 3600) -> None:
    """Set the last heartbeat of a lease to some seconds ago."""
    change(jobs, job, heartbeat=time.time() - seconds)


def die(jobs: Jobs, job: Job) -> None:
    """Replace the holder of a job's lease by a process that has ended."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    change(jobs, job, leased_by=name_process(ended.pid))


def submit(jobs: Jobs, app_id: int = 1, url: str = REQUEST.manifest_url) -> Job:
    (job,) = jobs.submit(app_id, [DetectionRequest(url)])
    return job


def lease(jobs: Jobs, job: Job, stage: Stage) -> Job:
    """Lease the next job of a stage, which must be the given one."""
    found = jobs.lease_next(stage)
    assert found is not None
    assert found.id == job.id
    return found


def start_again(jobs: Jobs, job: Job) -> Job:
    """Lease the download and begin its images. A worker that holds the job has died, and the sweep frees the job."""
    if jobs.find(job.id).lease:
        die(jobs, job)
        assert [freed.id for freed in jobs.free_abandoned()] == [job.id]
    found = lease(jobs, job, DOWNLOAD)
    jobs.record_start(found)
    return found


def finish(jobs: Jobs, job: Job, failed: int = 1) -> Job:
    """Finish all stages of a job, with some failed canvases."""
    coverage = {"detected": 2, "empty": 0, "failed": [{"canvas_number": 3, "reason": "gone"}] * failed}
    for stage in STAGES:
        job = lease(jobs, job, stage)
        jobs.record_progress(job, 3, 3, coverage)
        jobs.finish_stage(job, stage, 1)
    return job
