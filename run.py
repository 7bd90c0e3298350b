"""Start the API alone: ``python run.py``. The workers are started by ``run.sh`` or by hand (see docs/install.md)."""

import os
import sys

from app.config import Settings
from app.errors import SettingsError
from app.iiif.hosts import KNOWN_HOSTS, HostRule, HostRules
from app.logs import configure_logs

GUNICORN_OPTIONS = [
    "--worker-class",
    "app.server.gunicorn_worker.TimeLimitWorker",
    "--workers",
    "2",
    # Most of them may wait for slow clients: MOST_AT_WORK (app/server/middleware.py) requests are worked on at a time.
    "--threads",
    "350",
    "--access-logfile",
    "-",
    "--logger-class",
    "app.server.request_log.ServerLog",
    "--worker-connections",
    "400",
    "--graceful-timeout",
    "20",
    "--no-control-socket",
    # The middleware reads the headers of proxies, as far as PROXIES allows: see app/server/middleware.py.
    "--forwarded-allow-ips",
    "",
]


def main() -> None:
    try:
        settings = Settings.load()
        HostRules.load(KNOWN_HOSTS, HostRule())
    except SettingsError as error:
        sys.exit(error.message)
    if settings.debug:
        from app.app import app
        from app.server.request_log import DevelopmentHandler

        configure_logs(settings.log_format)
        app.run(
            settings.api_host,
            settings.api_port,
            debug=True,
            use_debugger=False,  # its page runs code for anyone who opens it; the log has the traceback
            load_dotenv=False,  # only Settings reads .env: a copy in the environment would outlive a change of the file
            request_handler=DevelopmentHandler,
        )
        return
    address = f"{settings.api_host}:{settings.api_port}"
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--bind", address, *GUNICORN_OPTIONS, "app.app:app"])


if __name__ == "__main__":
    main()
