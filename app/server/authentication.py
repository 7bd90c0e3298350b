"""Authentication: finds the client app of a request and stores it in ``g.client``.

The header ``X-API-Key`` identifies it. A signed link (see ``signed_links``) takes its place on some routes;
``g.is_linked`` is then true. Pages for people have a session instead (see ``sessions``). AIKON fronts send no key: they
belong to a client app by the network that they come from.
"""

import ipaddress

from flask import g, request

from app.auth import find_app, find_named_app
from app.database.tables import ClientApp
from app.errors import DatabaseUnavailable, RequestError, WrongNetwork
from app.server.proxies import read_client_address
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
            g.client = _find_front()
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


def _find_front() -> ClientApp:
    """Return the client app ``AIKON_APP`` for a request without a key from ``AIKON_NETWORKS``.

    Browsers send ``Origin`` with requests that another site has caused, and fronts do not. Such requests are refused,
    because the network of a person who visits a site says nothing about that site.

    Raises:
        WrongNetwork: The request comes from another network or from a browser, or there is no such client app.
    """
    settings = current_services.settings
    address = read_client_address(request.environ, settings.proxies)
    if address is None:
        raise WrongNetwork("The address of this request is not certain: set PROXIES to the number of proxies.")
    if not _is_in(address, settings.aikon_networks):
        raise WrongNetwork(f"{address} is not in AIKON_NETWORKS: send an API key in the header X-API-Key.")
    if "Origin" in request.headers:
        raise WrongNetwork("This request comes from a web page: send an API key in the header X-API-Key.")
    app = find_named_app(current_services.database, settings.aikon_app)
    if app is None:
        raise WrongNetwork(
            f"AIKON_APP: there is no single client app named {settings.aikon_app}: add it on the server."
        )
    return app


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in ipaddress.ip_network(network) for network in networks)
