"""Authentication: finds the client app of the header ``X-API-Key`` and stores it in ``g.client``."""

from flask import g, request

from app.auth import find_app
from app.errors import DatabaseUnavailable, RequestError
from app.services import current_services

# Blueprints whose routes need no key. All other routes need one.
OPEN = frozenset({"models", "openapi", "health"})
# Blueprints of probes, which need no key and have no rate limit.
PROBES = frozenset({"health"})


def find_client() -> None:
    """Find the client app of a request.

    An error is stored in ``g.auth_error`` and raised later by :func:`require_key`, because requests with a wrong key
    count towards the rate limit.
    """
    g.client, g.auth_error = None, None
    if request.endpoint is None or request.blueprint in PROBES:
        return
    try:
        g.client = find_app(current_services.database, request.headers.get("X-API-Key"))
    except (RequestError, DatabaseUnavailable) as error:
        g.auth_error = error


def require_key() -> None:
    """Raise the authentication error of a request if its route needs a key. Its body has not been read yet."""
    if g.auth_error and request.blueprint not in OPEN:
        raise g.auth_error
