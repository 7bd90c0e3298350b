"""The request log: method, path, status and milliseconds, in the format of all other logs.

Headers and queries are not logged, because headers contain API keys and clients put keys into queries by mistake.
"""

import logging
import re
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger
from werkzeug.serving import WSGIRequestHandler

from app.config import Settings
from app.logs import configure_logs
from app.server.gunicorn_worker import MALFORMED


def strip_target(target: str) -> str:
    """Return the path of a request target, without its query and without the credentials of an absolute URL.

    The path stays percent-encoded, because a decoded line break would start a new log line.
    https://www.rfc-editor.org/rfc/rfc9112#section-3.2
    """
    form = re.match(r"(?:[A-Za-z]+:)?(?://[^/?#]*)?(/[^?#]*)?", target)
    return re.sub(r"[^/]*@", "", (form and form[1]) or "-")


class ServerLog(Logger):
    """Gunicorn logger that writes to the logs of the application."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        configure_logs(Settings.load().log_format, self.loglevel)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        fields = {
            "method": environ["REQUEST_METHOD"],
            "path": strip_target(environ["RAW_URI"]),
            "status": int(str(resp.status).split(None, 1)[0]),
            "ms": round(request_time.total_seconds() * 1000),
        }
        self.access_log.log(logging.INFO, "%(method)s %(path)s %(status)d %(ms)d ms", fields, extra=fields)


class DevelopmentHandler(WSGIRequestHandler):
    """Handler for Flask's development server (``DEBUG``), with the log format and error responses of gunicorn."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log("info", "%s %s %s", self.command, strip_target(self.path), int(code))

    def log_error(self, *_: Any) -> None:
        """Log nothing, because the message quotes the request line, which may contain a key."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send the error response to malformed HTTP. The application handles all other requests."""
        self.log("warning", "A request was refused: %s", code)
        self.close_connection = True
        self.wfile.write(MALFORMED.format())
