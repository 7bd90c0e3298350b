"""What stands before every view: who asks is found, too many requests are refused, then whoever has no key.

A client app is counted by its key and everybody else by address, so a new guess at every try is no new account. A known
key is served whatever comes from the same address without one: 256 random bits are not guessed in any number of tries,
and a stranger could otherwise shut out everybody behind the same proxy.

A view finds the client app in ``g.client``.
"""

import ipaddress
import math
import time
from typing import Any

from flask import Flask, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded, RequestLimit
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from werkzeug.middleware.proxy_fix import ProxyFix

from app.auth import find_app
from app.config import Settings
from app.database.connections import wait_at_most
from app.errors import DatabaseUnavailable, RequestError
from app.services import current_services

# The blueprints that need no key, and those of them that may be asked as often as one likes. All else needs one.
OPEN = frozenset({"models", "openapi", "health"})
UNLIMITED = frozenset({"health"})

# A broker that hangs delays a request by this much, once: then the counts are kept in memory until it answers again.
BROKER_SECONDS = 0.3
# A request waits for each thing that it asks of the database no longer than this.
DATABASE_SECONDS = 10.0


def register(app: Flask) -> None:
    """Put the gate before the views of an application."""
    settings: Settings = app.extensions["services"].settings
    if settings.proxies:
        # The host stays the one that is asked for: X-Forwarded-Host may come from anybody through a proxy.
        proxied = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=settings.proxies, x_host=0)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    app.wsgi_app = _hurry(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(find_client)
    _build_limiter(settings).init_app(app)
    app.before_request(require_key)
    app.register_error_handler(RateLimitExceeded, answer_too_many)


def _hurry(answer: Any) -> Any:
    """Let no request wait for the database as patiently as a worker does."""

    def answer_soon(environ: Any, start_response: Any) -> Any:
        with wait_at_most(DATABASE_SECONDS):
            return answer(environ, start_response)

    return answer_soon


def find_client() -> None:
    """Find out who asks. That it is nobody, or cannot be known, is said after the counting: wrong keys count too."""
    g.client, g.refusal = None, None
    if request.endpoint is None or request.blueprint in UNLIMITED:
        return
    try:
        g.client = find_app(current_services.database, request.headers.get("X-API-Key"))
    except (RequestError, DatabaseUnavailable) as refusal:
        g.refusal = refusal


def require_key() -> None:
    """Refuse whoever has no key, where one is needed."""
    if g.refusal and request.blueprint not in OPEN:
        raise g.refusal


def answer_too_many(_: RateLimitExceeded) -> ResponseReturnValue:
    (limiter,) = current_app.extensions["limiter"]
    whom = "a client app" if g.client else "an address without a known API key"
    wait = _seconds_left(limiter.current_limit)
    message = f"Too many requests: {limiter.current_limit.limit} are accepted of {whom}; try again in {wait} seconds."
    return jsonify(message=message, code="too_many_requests"), 429, {"Retry-After": str(wait)}


def _seconds_left(breached: RequestLimit) -> int:
    """Return the seconds after which requests are accepted again; the whole window when the broker does not say."""
    try:
        return max(1, math.ceil(breached.reset_at - time.time()))
    except RedisError:
        return breached.limit.get_expiry()


def _build_limiter(settings: Settings) -> Limiter:
    hurried: dict[str, Any] = {
        "socket_timeout": BROKER_SECONDS,
        "socket_connect_timeout": BROKER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        identify,
        application_limits=[ApplicationLimit(limit_provider=_choose_limit)],
        storage_uri=settings.broker_url,
        storage_options=hurried,
        in_memory_fallback_enabled=True,
        # Of several requests that find the broker gone at the same moment, only the first is counted in memory.
        swallow_errors=True,
    )
    limiter.request_filter(lambda: request.blueprint in UNLIMITED)
    return limiter


def _choose_limit() -> str:
    settings: Settings = current_services.settings
    limit = settings.rate_limit if g.client else settings.rate_limit_address
    return "" if limit == "off" else limit


def identify() -> str:
    """Return the account that a request is counted on.

    Of an IPv6 address it is the network of 64 bits, all of which one machine commonly has.
    """
    if g.client:
        return f"app {g.client.id}"
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:  # over a UNIX socket
        return "address unknown"
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return f"address {ipaddress.ip_network((address, 64), strict=False)}"
    return f"address {address}"
