"""``GET /metrics``: what Prometheus scrapes. Open unless ``METRICS_TOKEN`` is set."""

import hmac

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.errors import Forbidden
from app.monitoring.prometheus import ServiceCollector
from app.services import current_services

routes = Blueprint("metrics", __name__)


@routes.get("/metrics")
def metrics() -> Response:
    _check_token(current_services.settings.metrics_token)
    registry = CollectorRegistry()
    s = current_services
    registry.register(ServiceCollector(s.database, s.broker, s.counters, s.heartbeats))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _check_token(token: str) -> None:
    """Refuse a request without the token of the settings, if there is one there."""
    sent = request.headers.get("Authorization", "")
    if token and not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
        raise Forbidden("The metrics are for those who know METRICS_TOKEN: send it as Authorization: Bearer <token>.")
