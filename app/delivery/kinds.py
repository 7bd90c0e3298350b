"""Kinds of deliveries, and their statuses.

    enqueue ──▶ pending ──▶ delivered     the client app answered 2xx
                 ▲   ├────▶ failed        no attempt is left, or the result was removed from the server
                 │   ├────▶ cancelled     the job was cancelled
                 │   ├────▶ superseded    a newer result replaces it
                 │   └────▶ disabled      the endpoint answered 410
                 └── redeliver            any status, if the job has no newer result

The columns of a pending delivery say when its next attempt is:

=====================================  ============================================================
columns                                meaning
=====================================  ============================================================
``next_attempt`` in the future         it waits for its retry delay, or for a paused endpoint
``next_attempt`` now or earlier        it is due
``leased_until`` in the future         a dispatcher makes an attempt
``next_attempt`` null                  it is held back while its job is retried
=====================================  ============================================================
"""

from enum import StrEnum


class Kind(StrEnum):
    """Content of a delivery: the result of a job, or an event."""

    RESULT = "result"
    STARTED = "job.started"
    PROGRESS = "job.progress"
    DONE = "job.done"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"


# Events of the end of a job: one for each run of the job.
END_EVENTS = (Kind.DONE, Kind.FAILED, Kind.CANCELLED)
# Deliveries that ``POST /jobs/<id>/redeliver`` sends again.
REDELIVERABLE = (Kind.RESULT, *END_EVENTS)


class Status(StrEnum):
    """Status of a delivery.

    ``pending``: attempts remain. ``delivered``: the client app answered 2xx. ``failed``: no attempt is left, or the
    result was removed. ``cancelled``: the job was cancelled. ``superseded``: a newer result replaces it. ``disabled``:
    the URL answered 410.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    DISABLED = "disabled"
