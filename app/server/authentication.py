"""Authentication: the client app of a request, from the header ``X-API-Key``. A view reads it as ``g.client``."""

from flask import g, request

from app.auth import find_app
from app.errors import DatabaseUnavailable, RequestError
from app.services import current_services

# The blueprints whose routes need no key. Every other route needs one.
OPEN = frozenset({"models", "openapi", "health"})
# The blueprints for probes: no key, no rate limit.
PROBES = frozenset({"health"})


def find_client() -> None:
    """Find the client app of a request. An error is kept until the request was counted: wrong keys count too."""
    g.client, g.refusal = None, None
    if request.endpoint is None or request.blueprint in PROBES:
        return
    try:
        g.client = find_app(current_services.database, request.headers.get("X-API-Key"))
    except (RequestError, DatabaseUnavailable) as refusal:
        g.refusal = refusal


def require_key() -> None:
    """Refuse a request without a valid key on a route that needs one, before its body is read."""
    if g.refusal and request.blueprint not in OPEN:
        raise g.refusal
