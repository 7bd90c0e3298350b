"""The middleware: everything that a request passes before its view, in this order."""

import threading
from typing import IO, Any

from flask import Flask
from flask_limiter import RateLimitExceeded
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import Settings
from app.database.connections import wait_at_most
from app.server import authentication, rate_limiting
from app.server.request_limits import BoundedRequest, allow, remove_time_limit

# Requests that a process works on at the same time. Each may hold a connection to the database.
MOST_AT_WORK = 8
# A request waits no longer than this for each session with the database; a worker has more patience.
DATABASE_SECONDS = 10.0


def register(app: Flask, settings: Settings) -> None:
    """Put the middleware before the views of an application."""
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_request_mb * 1e6)
    app.config["MAX_FORM_MEMORY_SIZE"] = int(settings.max_request_mb * 1e6)
    wsgi_app = app.wsgi_app
    if settings.proxies:
        # The host stays the one of the request: X-Forwarded-Host may come from any client through a proxy.
        wsgi_app = ProxyFix(wsgi_app, x_for=settings.proxies, x_proto=settings.proxies, x_host=0)
    app.wsgi_app = WorkLimit(wsgi_app, MOST_AT_WORK)  # type: ignore[method-assign]
    app.before_request(lambda: allow(settings.request_seconds))
    app.before_request(authentication.find_client)
    rate_limiting.build_limiter(settings).init_app(app)
    app.register_error_handler(RateLimitExceeded, rate_limiting.answer_too_many)
    app.before_request(authentication.require_key)


class WorkLimit:
    """WSGI middleware that works on a bounded number of requests at the same time; the others wait.

    Waiting for the body of a request is no work: a client that sends slowly delays nobody.
    """

    def __init__(self, wsgi_app: Any, most: int) -> None:
        self._wsgi_app = wsgi_app
        self._slots = threading.Semaphore(most)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"] = _Body(environ["wsgi.input"], self._slots)
        remove_time_limit(environ.get("gunicorn.socket"))
        with self._slots, wait_at_most(DATABASE_SECONDS):
            return self._wsgi_app(environ, start_response)


class _Body:
    """A body that gives the slot of its request to another one while it waits for the client."""

    def __init__(self, body: IO[bytes], slots: threading.Semaphore) -> None:
        self._body = body
        self._slots = slots

    def read(self, size: int = -1) -> bytes:
        self._slots.release()
        try:
            return self._body.read(size)
        finally:
            self._slots.acquire()
