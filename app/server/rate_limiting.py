"""Rate limiting: requests with a valid key are counted per client app, all others per IP address.

All wrong keys from one address share one limit, so a client that guesses keys is limited, too. They do not use up the
limit of a valid key from the same address. Otherwise one client could block all others behind the same proxy. This is
safe, because a key of 256 random bits cannot be guessed.
"""

import ipaddress
import math
import time
from typing import Any

from flask import current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded, RequestLimit
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.config import Settings
from app.server.authentication import PAGES, PROBES
from app.services import current_services

# Timeout of the broker. After a timeout, requests are counted in memory until the broker answers again.
BROKER_SECONDS = 0.3


def build_limiter(settings: Settings) -> Limiter:
    """Return the limiter. It counts on the broker, or in memory while the broker is unavailable."""
    short: dict[str, Any] = {
        "socket_timeout": BROKER_SECONDS,
        "socket_connect_timeout": BROKER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        choose_rate_limit_key,
        application_limits=[ApplicationLimit(limit_provider=_choose_limit)],
        storage_uri=settings.broker_url,
        storage_options=short,
        in_memory_fallback_enabled=True,
        # If several requests find the broker unavailable at once, only the first is counted in memory; the others pass.
        swallow_errors=True,
    )
    limiter.request_filter(lambda: request.blueprint in PROBES or _is_image_of_page())
    return limiter


def choose_rate_limit_key() -> str:
    """Return the key under which a request is counted.

    IPv6 clients are counted per /64 network, because one machine commonly owns all of its addresses.
    """
    if g.client:
        return f"app {g.client.id}"
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:  # a UNIX socket
        return "address unknown"
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return f"address {ipaddress.ip_network((address, 64), strict=False)}"
    return f"address {address}"


def answer_too_many(_: RateLimitExceeded) -> ResponseReturnValue:
    """Return the 429 response to a request over its limit."""
    (limiter,) = current_app.extensions["limiter"]
    scope = "client app" if g.client else "IP address without a valid API key"
    wait = _seconds_left(limiter.current_limit)
    message = f"Too many requests: the limit is {limiter.current_limit.limit} per {scope}; try again in {wait} seconds."
    return jsonify(message=message, code="too_many_requests"), 429, {"Retry-After": str(wait)}


def _seconds_left(breached: RequestLimit) -> int:
    """Return the seconds until requests are accepted again, or the whole window if the broker does not answer."""
    try:
        return max(1, math.ceil(breached.reset_at - time.time()))
    except RedisError:
        return breached.limit.get_expiry()


def _is_image_of_page() -> bool:
    """Return whether a signed-in person asks for an image: a page for people has hundreds of them."""
    return request.blueprint == PAGES and g.client is not None and request.path.endswith(".jpg")


def _choose_limit() -> str:
    settings: Settings = current_services.settings
    limit = settings.rate_limit if g.client else settings.rate_limit_address
    return "" if limit == "off" else limit
