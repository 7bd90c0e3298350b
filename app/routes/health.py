"""``GET /healthz``, ``GET /readyz``: does the service stand, and does it work? Open to everyone, for probes."""

from collections.abc import Mapping

from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

routes = Blueprint("health", __name__)


@routes.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Tell whether the database and the broker answer."""
    silent = [
        name for name, answers in (("database", _database_answers()), ("broker", _broker_answers())) if not answers
    ]
    if not silent:
        return jsonify(status="ok", database="ok", broker="ok")
    message = (
        f"The {silent[0]} does not answer." if len(silent) == 1 else "Neither the database nor the broker answers."
    )
    return jsonify(status="not ok", message=message), 503


@routes.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Tell whether something came through every queue lately: a worker that consumes nothing is found out."""
    try:
        silences = current_app.extensions["queue"].pulses.find_silences()
    except SQLAlchemyError:
        return jsonify(status="not ready", message="The database does not answer."), 503
    limit = current_app.extensions["settings"].ready_seconds
    queues = {queue: None if seconds is None else round(seconds, 1) for queue, seconds in silences.items()}
    silent = {queue: seconds for queue, seconds in queues.items() if seconds is None or seconds > limit}
    if not silent:
        return jsonify(status="ready", queues=queues)
    return jsonify(status="not ready", message=_describe_silence(silent, len(queues)), queues=queues), 503


def _describe_silence(silent: Mapping[str, float | None], queues: int) -> str:
    """Return the sentence that says which queues are silent, and where to look."""
    names = ", ".join(silent)
    which = f"the queue {names}" if len(silent) == 1 else f"the queues {names}"
    times = [seconds for seconds in silent.values() if seconds is not None]
    since = f"for {min(times):.0f} s" if len(times) == len(silent) else "yet"
    logs = "the log of its worker" if len(silent) == 1 else "the logs of their workers"
    also = " and of the schedule" if len(silent) == queues else ""
    return f"Nothing has come through {which} {since}: see {logs}{also}."


def _database_answers() -> bool:
    try:
        with current_app.extensions["database"].session() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _broker_answers() -> bool:
    try:
        return bool(current_app.extensions["queue"].broker.ping())
    except RedisError:
        return False
