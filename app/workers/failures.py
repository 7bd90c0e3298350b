"""Unexpected errors of stages: the error that the job reports, and the end of a process that lost its GPU."""

import os

from billiard.process import current_process

from app.database.tables import Job
from app.devices import MISCONFIGURED, describe, is_out_of_memory
from app.errors import DeviceLost, ExtractorError, NoSpace, OutOfMemory
from app.jobs import Stage
from app.services import Services
from app.storage import is_disk_full


def leave_device(services: Services, job: Job, stage: Stage, error: Exception) -> None:
    """Exit, so that the job continues in a new process that can use the GPU; in a thread pool, fail the job."""
    what = f"The GPU failed with `{describe(error)}`"
    if current_process().name == "MainProcess":
        advice = "this process can no longer use it: restart the worker, then retry the job."
        services.jobs.fail(job, DeviceLost(f"{what}, and {advice}"))
        return
    advice = "retry the job, with other weights if it fails again, and check the GPU."
    try:
        services.jobs.hand_over(job, stage, DeviceLost(f"{what}, again in a new process at the same place: {advice}"))
    finally:
        os._exit(1)  # without the clean-up of CUDA, which may hang


def explain(error: Exception) -> ExtractorError:
    """Return the error of a job for an unexpected exception, a full disk, a full memory or an unusable GPU."""
    if is_disk_full(error):
        return NoSpace("There is no space left on the server's disk: free some space and retry the job.")
    if is_out_of_memory(error):
        return OutOfMemory("The memory of the device is full: stop other programs that use it, then retry the job.")
    for words, message in MISCONFIGURED.items():
        if isinstance(error, RuntimeError) and words in str(error):
            return ExtractorError(message)
    return ExtractorError(f"The server failed with {type(error).__name__}: its log has the details under the job's id.")
