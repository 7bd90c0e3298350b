"""What a delivery carries, and what may become of it."""

from enum import StrEnum


class Kind(StrEnum):
    """What a delivery carries: the result of a job, or an event of its life."""

    RESULT = "result"
    STARTED = "job.started"
    PROGRESS = "job.progress"
    DONE = "job.done"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"


# How a job may end: one of these for each time that it is tried.
END_EVENTS = (Kind.DONE, Kind.FAILED, Kind.CANCELLED)
# What is worth sending again when somebody asks for it.
REDELIVERABLE = (Kind.RESULT, *END_EVENTS)


class Status(StrEnum):
    """Where a delivery is.

    ``pending``: a try is due, now or later; or it is held back while a newer result is made. ``delivered``: the client
    app took it. ``failed``: every try is used up. ``cancelled``: its job was. ``superseded``: a newer result took its
    place. ``disabled``: its address wants nothing more.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    DISABLED = "disabled"
