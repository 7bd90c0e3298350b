"""Flask's development server, which ``DEBUG`` starts: it logs and refuses as gunicorn does here."""

from typing import Any

from werkzeug.serving import WSGIRequestHandler

from app.server.refusals import MALFORMED
from app.server.request_log import strip_target


class RequestHandler(WSGIRequestHandler):
    """Reads a request for the application."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log("info", "%s %s %s", self.command, strip_target(self.path), int(code))

    def log_error(self, *_: Any) -> None:
        """Nothing: the line of the request is in it, and maybe a key."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP; the application answers all else."""
        self.log("warning", "A request was refused: %s", code)
        self.close_connection = True
        self.wfile.write(MALFORMED.format())
