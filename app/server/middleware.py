"""The middleware: all steps between a connection and the view, in their order."""

import threading
from typing import IO, Any

from flask import Flask
from flask_limiter import RateLimitExceeded

from app.config import Settings
from app.database.connections import wait_at_most
from app.server import authentication, rate_limiting, sessions
from app.server.proxies import TrustedProxies
from app.server.request_limits import BoundedRequest, clear_deadline, set_request_deadline

# Limit of requests in one process, because each may hold a connection to the database.
MAX_CONCURRENT_REQUESTS = 8
# Longest wait of a request for the database. Workers wait longer (see app/database/connections.py).
DATABASE_SECONDS = 10.0


def register(app: Flask, settings: Settings) -> None:
    """Install the middleware in an application."""
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_request_mb * 1e6)
    app.config["MAX_FORM_MEMORY_SIZE"] = int(settings.max_request_mb * 1e6)
    wsgi_app: Any = app.wsgi_app
    if settings.proxies:
        wsgi_app = TrustedProxies(wsgi_app, settings.proxies)
    app.wsgi_app = ConcurrencyLimit(wsgi_app, MAX_CONCURRENT_REQUESTS)  # type: ignore[method-assign]
    app.before_request(lambda: set_request_deadline(settings.request_seconds))
    sessions.register(app)
    app.before_request(authentication.find_client)
    rate_limiting.build_limiter(settings).init_app(app)
    app.register_error_handler(RateLimitExceeded, rate_limiting.answer_too_many)
    app.before_request(authentication.require_key)


class ConcurrencyLimit:
    """WSGI middleware that limits the number of requests handled at the same time; further requests wait.

    A request that waits for its body does not count, so slow clients do not delay others.

    Args:
        wsgi_app: Application to call.
        limit: Largest number of concurrent requests.
    """

    def __init__(self, wsgi_app: Any, limit: int) -> None:
        self._wsgi_app = wsgi_app
        self._slots = threading.Semaphore(limit)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"] = _SlotReleasingBody(environ["wsgi.input"], self._slots)
        clear_deadline(environ.get("gunicorn.socket"))
        with self._slots, wait_at_most(DATABASE_SECONDS):
            return self._wsgi_app(environ, start_response)


class _SlotReleasingBody:
    """A request body that releases the slot of its request while it waits for the client."""

    def __init__(self, body: IO[bytes], slots: threading.Semaphore) -> None:
        self._body = body
        self._slots = slots

    def read(self, size: int = -1) -> bytes:
        self._slots.release()
        try:
            return self._body.read(size)
        finally:
            self._slots.acquire()
