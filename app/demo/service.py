"""The whole service as it runs in production, for a while: broker, workers, schedule and API under their supervisor."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from app.config import ROOT, Settings
from app.database.sessions import Database


def find_free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def choose_settings(folder: Path, **values: Any) -> Settings:
    """Return settings of a service apart from any other: its own ports, broker and database, all data in a folder."""
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
    """Return the environment in which a process reads these settings, whatever ``.env`` says."""
    return os.environ | {name.upper(): _format_value(getattr(settings, name)) for name in Settings.model_fields}


def _format_value(value: Any) -> str:
    """Return a setting as it stands in the environment."""
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, tuple) else str(value)


@contextmanager
def run_service(settings: Settings, start_broker: bool = True, wrapper: Sequence[str] = ()) -> Iterator[str]:
    """Run every process of the service; yields the address of the API once it answers.

    Args:
        settings: Of the service.
        start_broker: Whether a broker is among the processes.
        wrapper: A command that runs what follows it, such as ``("nice",)``.
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
    process = subprocess.Popen([*wrapper, *command], env=environment, cwd=ROOT)  # noqa: S603 (no word of it from outside)
    api = f"http://{settings.api_host}:{settings.api_port}"
    try:
        wait_for_api(api, settings.data_folder)
        yield api
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def wait_for_api(api: str, folder: Path, patience: float = 120) -> None:
    """Wait until an API answers; ``folder`` is where its logs are."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            requests.get(f"{api}/models", timeout=2).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise RuntimeError(f"The API does not answer: see {folder}/logs/api.log.")
