"""Start the API: ``python run.py``. ``run.sh`` starts it together with the workers (see docs/install.md)."""

import os
import sys

from app.config import Settings
from app.errors import SettingsError
from app.iiif.hosts import KNOWN_HOSTS, HostRule, HostRules
from app.logs import configure_logs
from app.server.proxies import read_prefix

GUNICORN_OPTIONS = [
    "--worker-class",
    "app.server.gunicorn_worker.TimeLimitWorker",
    "--preload",
    "--workers",
    "2",
    # Most threads only wait for slow clients: MAX_CONCURRENT_REQUESTS (app/server/middleware.py) limits the others.
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
    # The setting PROXIES decides which forwarded headers are trusted: see app/server/middleware.py.
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
            use_debugger=False,  # it lets anyone who opens its page run code; the log contains the traceback
            load_dotenv=False,  # Settings reads .env; copies in the environment would hide later changes of the file
            request_handler=DevelopmentHandler,
        )
        return
    if path := os.environ.get("SCRIPT_NAME", "").rstrip("/"):
        os.environ["SCRIPT_NAME"] = read_prefix(path) or sys.exit("SCRIPT_NAME must be a path such as /extractor.")
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host  # IPv6
    address = f"{host}:{settings.api_port}"
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--bind", address, *GUNICORN_OPTIONS, "app.app:app"])


if __name__ == "__main__":
    main()
