"""``GET /healthz``, ``/readyz``, ``/metrics``: for load balancers, monitoring and Prometheus. They need no API key."""

import hmac
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from redis import Redis, RedisError, ResponseError
from sqlalchemy import select

from app.database.connections import wait_at_most
from app.database.sessions import Database
from app.database.tables import ClientApp
from app.errors import DatabaseUnavailable, Forbidden
from app.monitoring.prometheus import ServiceCollector
from app.routes.answers import Health, NotHealthy, NotReady, Ready
from app.routes.operations import answers
from app.services import current_services

routes = Blueprint("health", __name__)

# Timeout of each check.
PROBE_SECONDS = 1.5
NO_ANSWER = "does not answer"


@routes.get("/healthz")
@answers(Health, unhealthy=NotHealthy)
def healthz() -> ResponseReturnValue:
    """Check that the database can be read and that the broker accepts messages."""
    database, broker = current_services.database, current_services.broker
    faults = _probe({"database": lambda: _read(database), "broker": lambda: _write(broker)})
    if not faults:
        return jsonify(Health(status="ok", database="ok", broker="ok"))
    message = ", and ".join(f"the {name} {fault}" for name, fault in faults.items()) + "."
    return jsonify(NotHealthy(status="not ok", message=message[0].upper() + message[1:])), 503


@routes.get("/readyz")
@answers(Ready, unhealthy=NotReady)
def readyz() -> ResponseReturnValue:
    """Check that the workers of every queue are active.

    A queue counts as inactive if its workers sent no heartbeat within READY_SECONDS.
    """
    try:
        silences = current_services.heartbeats.find_silences()
    except DatabaseUnavailable:
        return jsonify(NotReady(status="not ready", message="The database does not answer.")), 503
    limit = current_services.settings.ready_seconds
    queues = {queue: None if seconds is None else round(seconds, 1) for queue, seconds in silences.items()}
    silent = {queue: seconds for queue, seconds in queues.items() if seconds is None or seconds > limit}
    if not silent:
        return jsonify(Ready(status="ready", queues=queues))
    message = _describe_silence(silent, len(queues))
    return jsonify(NotReady(status="not ready", message=message, queues=queues)), 503


@routes.get("/metrics")
@answers(None, others={"text/plain": {"type": "string"}}, errors=[403])
def metrics() -> Response:
    """Return the metrics for Prometheus.

    If METRICS_TOKEN is set on the server, send it as `Authorization: Bearer <token>`.
    """
    _check_token(current_services.settings.metrics_token)
    registry = CollectorRegistry()
    s = current_services
    registry.register(ServiceCollector(s.database, s.broker, s.counters, s.heartbeats))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _describe_silence(silent: Mapping[str, float | None], queues: int) -> str:
    """Return a message that names the silent queues and the log to read."""
    names = ", ".join(silent)
    which = f"the queue {names}" if len(silent) == 1 else f"the queues {names}"
    times = [seconds for seconds in silent.values() if seconds is not None]
    since = f"for {min(times):.0f} s" if len(times) == len(silent) else "yet"
    logs = "the log of its worker" if len(silent) == 1 else "the logs of their workers"
    also = " and of the schedule" if len(silent) == queues else ""
    return f"No worker has been active on {which} {since}: see {logs}{also}."


def _probe(checks: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """Run all checks in parallel. Return the problem of each check that failed, by name."""
    executor = ThreadPoolExecutor(len(checks), "probe")
    probes = {name: executor.submit(check) for name, check in checks.items()}
    wait(probes.values(), PROBE_SECONDS)
    executor.shutdown(wait=False)
    return {name: fault for name, probe in probes.items() if (fault := _get_problem(probe))}


def _get_problem(probe: Future[str]) -> str:
    return probe.result() if probe.done() else NO_ANSWER


def _read(database: Database) -> str:
    try:
        with wait_at_most(PROBE_SECONDS), database.session() as session:
            session.scalar(select(ClientApp.id).limit(1))
    except DatabaseUnavailable:
        return NO_ANSWER
    return ""


def _write(broker: Redis) -> str:
    """Write a key, because a broker that is out of memory, or a read-only replica, still answers pings."""
    try:
        broker.set("extractor:health", "", ex=60)
    except ResponseError:
        return "accepts no messages: it is out of memory or read-only"
    except RedisError:
        return NO_ANSWER
    return ""


def _check_token(token: str) -> None:
    """Raise an error if METRICS_TOKEN is set and the request does not contain it."""
    sent = request.headers.get("Authorization", "")
    if token and not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
        raise Forbidden("The metrics require METRICS_TOKEN: send it as Authorization: Bearer <token>.")
