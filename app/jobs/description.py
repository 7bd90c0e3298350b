"""A job as client apps see it: in answers, and in the events that are sent to them."""

from datetime import UTC, datetime
from typing import Any

from app.database.tables import Attempt, Delivery, Job
from app.jobs.job_kinds import find_kind


def describe(job: Job) -> dict[str, Any]:
    """Return a job, without its deliveries."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {
        "job_id": job.id,
        "kind": job.kind,
        "state": job.state,
        "progress": {"stage": job.state, "done": job.done, "total": job.total},
        "created": format_time(job.created),
        "updated": format_time(job.updated),
        "finished": format_time(job.finished),
        **find_kind(job.kind).describe(job),
        "timings": job.timings,
        "error": error,
    }


def count_failed(job: Job) -> int:
    """Return how many canvases failed; of a similarity job, images, and documents that have no image to fail."""
    coverage = job.coverage or {}
    failed = len(coverage.get("failed", ()))
    for document in coverage.get("documents", ()):
        failed += len(document["failed"]) or (1 if document["error"] else 0)
    return failed


def describe_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery with each of its tries."""
    return {
        "id": delivery.id,
        "kind": delivery.kind,
        **({"part": delivery.part} if delivery.part else {}),
        "url": delivery.url,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "http_status": delivery.http_status,
        "error": delivery.error,
        "next_attempt": format_time(delivery.next_attempt),
        "history": [_describe_attempt(attempt) for attempt in delivery.history],
    }


def describe_part(part: Job) -> dict[str, Any]:
    """Return a job of a collection in short."""
    return {"job_id": part.id, "manifest_url": part.request["manifest_url"], "state": part.state}


def format_time(seconds: float | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the second."""
    return None if seconds is None else format_moment(seconds, "seconds")


def format_moment(seconds: float, precision: str = "milliseconds") -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _describe_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": format_time(attempt.at),
        "http_status": attempt.http_status,
        "error": attempt.error,
        "seconds": attempt.seconds,
    }
