"""What gunicorn logs, in the form of every other log; of a request its method, path, status and milliseconds."""

import logging
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from app.config import Settings
from app.logs import configure_logs


class ServerLog(Logger):
    """The logger of gunicorn. No header and no query is logged: keys travel in them."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        configure_logs(Settings.load().log_format, self.loglevel)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        fields = {
            "method": environ["REQUEST_METHOD"],
            # As it was sent: a line break in the decoded path would begin a line of its own.
            "path": environ["RAW_URI"].partition("?")[0],
            "status": int(str(resp.status).split(None, 1)[0]),
            "ms": round(request_time.total_seconds() * 1000),
        }
        self.access_log.log(logging.INFO, "%(method)s %(path)s %(status)d %(ms)d ms", fields, extra=fields)
