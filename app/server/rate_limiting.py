"""Rate limiting: requests are counted by client app, those without a known key by address.

A client app is counted by its key, all other clients by address, so guessing keys does not raise the limit. A known key
is served regardless of requests without one from the same address: otherwise any client could block all others behind
the same proxy, and 256 random bits cannot be guessed in any number of tries.
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
from app.server.authentication import PROBES
from app.services import current_services

# A broker that hangs delays one request by this much; then the requests are counted in memory until it answers again.
BROKER_SECONDS = 0.3


def build_limiter(settings: Settings) -> Limiter:
    """Return the limiter that counts on the broker, or in memory while the broker is away."""
    short: dict[str, Any] = {
        "socket_timeout": BROKER_SECONDS,
        "socket_connect_timeout": BROKER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        choose_account,
        application_limits=[ApplicationLimit(limit_provider=_choose_limit)],
        storage_uri=settings.broker_url,
        storage_options=short,
        in_memory_fallback_enabled=True,
        # Of several requests that find the broker away at the same moment, only the first is counted in memory.
        swallow_errors=True,
    )
    limiter.request_filter(lambda: request.blueprint in PROBES)
    return limiter


def choose_account() -> str:
    """Return the account that a request is counted on.

    An IPv6 client is counted by its network of 64 bits, because one machine commonly has all its addresses.
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


def answer_too_many(_: RateLimitExceeded) -> ResponseReturnValue:
    """Return the 429 of a request over its limit."""
    (limiter,) = current_app.extensions["limiter"]
    account = "a client app" if g.client else "an address without a known API key"
    wait = _seconds_left(limiter.current_limit)
    message = (
        f"Too many requests: {limiter.current_limit.limit} are accepted of {account}; try again in {wait} seconds."
    )
    return jsonify(message=message, code="too_many_requests"), 429, {"Retry-After": str(wait)}


def _seconds_left(breached: RequestLimit) -> int:
    """Return the seconds until requests are accepted again; the whole window when the broker does not answer."""
    try:
        return max(1, math.ceil(breached.reset_at - time.time()))
    except RedisError:
        return breached.limit.get_expiry()


def _choose_limit() -> str:
    settings: Settings = current_services.settings
    limit = settings.rate_limit if g.client else settings.rate_limit_address
    return "" if limit == "off" else limit
