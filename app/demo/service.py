"""Run the whole service as in production: broker, workers, schedule and API under their supervisor."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from app.config import ROOT, Settings
from app.database.sessions import Database

# Below the ports that the system gives to other programs (32768 and more), which could take a port before it is used.
_PORTS = range(20_000, 32_000)


def find_free_port() -> int:
    """Return a free port of the loopback interface."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def choose_settings(folder: Path, **values: Any) -> Settings:
    """Return settings of an isolated service: its own ports, broker and database, and all data in a folder."""
    apart = {
        "celery_broker_url": f"redis://127.0.0.1:{find_free_port()}/0",
        "api_host": "127.0.0.1",
        "api_port": find_free_port(),
        "debug": False,
        "client_app_url": "",
        "database_url": f"sqlite:///{folder / 'service.db'}",
        "data_folder": folder,
        "trusted_hosts": ("127.0.0.1",),
    }
    return Settings.load(**apart | values)


def build_environment(settings: Settings) -> dict[str, str]:
    """Return an environment with these settings, which override ``.env``."""
    return os.environ | {name.upper(): _format_value(getattr(settings, name)) for name in Settings.model_fields}


def _format_value(value: Any) -> str:
    """Return the text of a setting for an environment variable."""
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, tuple) else str(value)


@contextmanager
def run_service(settings: Settings, start_broker: bool = True, wrapper: Sequence[str] = ()) -> Iterator[str]:
    """Run all processes of the service; yield the URL of the API once it responds.

    Args:
        settings: Settings of the service.
        start_broker: Whether to start a broker as well.
        wrapper: Prefix of the supervisor command, such as ``("nice",)``.
    """
    (settings.data_folder / "logs").mkdir(parents=True, exist_ok=True)
    database = Database(settings.sqlalchemy_url)
    database.upgrade()
    database.close()
    environment = build_environment(settings) | {
        "ROOT": str(ROOT),
        "BIN": str(Path(sys.executable).parent),
        "DATA_FOLDER": str(settings.data_folder),
        "START_BROKER": str(start_broker).lower(),
    }
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "app" / "supervisord.conf")]
    process = subprocess.Popen([*wrapper, *command], env=environment, cwd=ROOT)  # noqa: S603 (no external input)
    api = f"http://{settings.api_host}:{settings.api_port}"
    try:
        wait_for_api(api, settings.data_folder)
        yield api
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def wait_for_api(api: str, folder: Path) -> None:
    """Wait up to two minutes until an API responds.

    Args:
        api: URL of the API.
        folder: Data folder of the service, with its logs.

    Raises:
        RuntimeError: The API did not respond in time.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            requests.get(f"{api}/models", timeout=2).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise RuntimeError(f"The API does not respond at {api}: see {folder}/logs/api.log.")
