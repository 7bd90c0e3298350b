"""What is logged of requests, in the form of every other log: method, path, status and milliseconds.

No header and no query is logged: keys travel in them.
"""

import logging
import re
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from app.config import Settings
from app.logs import configure_logs


def strip_target(target: str) -> str:
    """Return the path of a request's target for a log: never its query, nor the password of a whole address.

    As it was sent: a line break in the decoded path would begin a line of its own.
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
