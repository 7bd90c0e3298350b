"""Logs: one form for every process, on stdout, in UTC, each line with the id of the job it belongs to.

Supervisor writes stdout to files and rotates them; under systemd it goes to the journal.
"""

import logging
import sys
import time
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

# What Celery says of every message and of every tick of the schedule; the tasks say themselves what they do.
# What Alembic says at every start; `app.database` reports an upgrade.
CHATTER = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "alembic")

_job: ContextVar[str] = ContextVar("job", default="")


def configure_logs(log_format: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Let every log of this process go to stdout, and nowhere else.

    Args:
        log_format: ``text``: a line for people. ``json``: an object a line, with the traceback in one field.
        level: Of the least line that is written.
    """
    handler = logging.StreamHandler(sys.__stdout__)
    handler.setFormatter(_build_formatter(log_format))
    handler.addFilter(_add_job)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in CHATTER:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def set_job(job_id: str) -> None:
    """Say to which job the lines of this thread belong from now on; "": to none.

    A thread that is started for a job must run in a copy of its starter's context.
    """
    _job.set(job_id)


def _build_formatter(log_format: Literal["text", "json"]) -> logging.Formatter:
    if log_format == "json":
        formatter: logging.Formatter = JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
            reserved_attrs=[*RESERVED_ATTRS, "data", "job_prefix"],  # Celery's own, and that of the text
            json_ensure_ascii=False,
        )
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(job_prefix)s%(message)s")
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    return formatter


def _add_job(record: logging.LogRecord) -> bool:
    """Name the job in a record: as a field, and in the text unless the message names it."""
    job_id = _job.get()
    if job_id:
        record.job_id = job_id
    record.job_prefix = f"job {job_id}: " if job_id and job_id not in record.getMessage() else ""
    return True
