"""Authentication: finds the client app of a request and stores it in ``g.client``.

The header ``X-API-Key`` identifies it. A signed link (see ``signed_links``) takes its place on some routes;
``g.is_linked`` is then true. Pages for people have a session instead (see ``sessions``). AIKON fronts send no key (see
``fronts``).
"""

from flask import g, request

from app.auth import find_app
from app.errors import DatabaseUnavailable, RequestError
from app.server.fronts import find_front
from app.server.sessions import find_signed_in
from app.server.signed_links import find_linked_app
from app.services import current_services

# Blueprints whose routes need no key. All other routes need one.
OPEN = frozenset({"models", "openapi", "health", "open_pages"})
# Blueprints whose routes accept a signed link in place of a key. Each of them is about one job, `job_id`.
LINKED = frozenset({"viewer"})
# Blueprint of the pages for people. Its sign-in page and its static files belong to another one, without a session.
PAGES, OPEN_PAGES = "pages", "open_pages"
# Blueprints of probes, which need no key and have no rate limit.
PROBES = frozenset({"health"})
# Blueprint whose routes need no key in requests from AIKON_NETWORKS.
AIKON = "aikon"


def find_client() -> None:
    """Find the client app of a request.

    An error is stored in ``g.auth_error`` and raised later by :func:`require_key`, because requests with a wrong key
    count towards the rate limit.
    """
    g.client, g.auth_error, g.is_linked = None, None, False
    if request.endpoint is None or request.blueprint in PROBES:
        return
    key = request.headers.get("X-API-Key")
    try:
        if request.blueprint == PAGES:
            g.client = find_signed_in()
        elif request.blueprint == AIKON and not key and current_services.settings.aikon_networks:
            g.client = find_front()
        else:
            g.client = find_app(current_services.database, key)
    except (RequestError, DatabaseUnavailable) as error:
        g.auth_error = error


def require_key() -> None:
    """Raise the authentication error of a request if its route needs a key. Its body has not been read yet.

    Signatures are checked here, after the rate limiter: a request with a link counts for its IP address.
    """
    if g.auth_error is None or request.blueprint in OPEN:
        return
    if request.blueprint not in LINKED or "signature" not in request.args:
        raise g.auth_error
    g.client = find_linked_app((request.view_args or {})["job_id"], request.args)
    g.is_linked = True
