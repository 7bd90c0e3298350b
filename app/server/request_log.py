"""The request log, in the form of every other log: method, path, status and milliseconds.

It contains no header and no query: API keys are sent in headers, and clients put them into queries by mistake.
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
    """Return the path of a request's target, without its query or the credentials of an absolute URL.

    The path stays quoted: a line break in the decoded path would start a new line of the log.
    https://www.rfc-editor.org/rfc/rfc9112#section-3.2
    """
    form = re.match(r"(?:[A-Za-z]+:)?(?://[^/?#]*)?(/[^?#]*)?", target)
    return re.sub(r"[^/]*@", "", (form and form[1]) or "-")


class ServerLog(Logger):
    """The logger of gunicorn."""

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
    """Lets Flask's development server, which ``DEBUG`` starts, log and refuse requests as gunicorn does here."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log("info", "%s %s %s", self.command, strip_target(self.path), int(code))

    def log_error(self, *_: Any) -> None:
        """Log nothing: the message contains the request line, which may contain a key."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is not HTTP; the application answers all others."""
        self.log("warning", "A request was refused: %s", code)
        self.close_connection = True
        self.wfile.write(MALFORMED.format())
