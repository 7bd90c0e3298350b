"""Log format of every process: lines on stdout, times in UTC, each line with the ID of its job.

Supervisor writes stdout to rotated files; under systemd it goes to the journal.
"""

import logging
import sys
import time
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

# Celery logs every message and every scheduled task; the tasks have their own log lines.
# Alembic logs every start; `app.database` logs upgrades.
NOISY_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "alembic")

_job: ContextVar[str] = ContextVar("job", default="")


def configure_logs(log_format: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Send all logs of this process to stdout.

    Args:
        log_format: ``text`` for plain lines, or ``json`` for one object per line with the traceback in a field.
        level: Lowest level that is logged.
    """
    handler = logging.StreamHandler(sys.__stdout__)
    handler.setFormatter(_build_formatter(log_format))
    handler.addFilter(_add_job)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def set_job(job_id: str) -> None:
    """Set the job ID of all further log lines of this thread, or remove it with "".

    A thread that works for the job must be started in a copy of this context (``contextvars.copy_context``).
    """
    _job.set(job_id)


def _build_formatter(log_format: Literal["text", "json"]) -> logging.Formatter:
    if log_format == "json":
        formatter: logging.Formatter = JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
            reserved_attrs=[*RESERVED_ATTRS, "data", "job_prefix"],  # fields of Celery and of the text format
            json_ensure_ascii=False,
        )
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(job_prefix)s%(message)s")
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    return formatter


def _add_job(record: logging.LogRecord) -> bool:
    """Add the job ID to a record: as a field, and as a prefix of the text unless the message contains it."""
    job_id = _job.get()
    if job_id:
        record.job_id = job_id
    record.job_prefix = f"job {job_id}: " if job_id and job_id not in record.getMessage() else ""
    return True
