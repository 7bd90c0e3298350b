"""A client app that records each request it receives."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, Response, request
from werkzeug.serving import WSGIRequestHandler, make_server


@dataclass(frozen=True)
class Received:
    """One POST request.

    Attributes:
        path: Path of the URL.
        headers: Headers of the request.
        body: Whole body of the request.
        fields: Form fields by name.
        files: Uploaded files by field name, each as ``(file name, content)``.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    fields: dict[str, str]
    files: dict[str, tuple[str, bytes]]


@dataclass
class RecordingClientApp:
    """Record the requests that the service sends, and wait for them.

    Attributes:
        received: Requests in the order of arrival.
        answers: Statuses of the next responses, each alone or with headers; later responses have status 200.
        on_receive: Function that is called for every request, before the response.
    """

    received: list[Received] = field(default_factory=list)
    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    on_receive: Callable[[], object] = bool
    _news: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int = 1, timeout: float = 60) -> list[Received]:
        """Return all requests so far, once there are at least ``count`` of them or the timeout has passed."""
        with self._news:
            self._news.wait_for(lambda: len(self.received) >= count, timeout)
            return list(self.received)

    def create_app(self) -> Flask:
        app = Flask("client_app")

        @app.post("/<path:path>")
        def receive(path: str) -> Response:
            body = request.get_data()  # first: reading the form consumes the body
            files = {name: (file.filename or "", file.read()) for name, file in request.files.items()}
            received = Received(f"/{path}", dict(request.headers), body, request.form.to_dict(), files)
            with self._news:
                self.received.append(received)
                self._news.notify_all()
                answer = self.answers.pop(0) if self.answers else 200
            self.on_receive()
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            return Response(status=status, headers=headers)

        return app


class _Quiet(WSGIRequestHandler):
    """Request handler that logs no requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


# Seconds in which a server notices that it must stop. The default of werkzeug is half a second.
STOPS_WITHIN = 0.05


@contextmanager
def serve(app: Flask, port: int = 0) -> Iterator[str]:
    """Serve an application on loopback from a thread; yield its URL."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(STOPS_WITHIN,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
