"""The API on gunicorn, as in production, for tests that need real connections. No workers run."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from app.auth import add_app
from app.config import ROOT
from app.database.sessions import Database
from app.demo.service import build_environment, choose_settings, wait_for_api
from tests.support.checkpoints import make_module, save_records


class Api:
    """A running API, and a valid key."""

    def __init__(self, port: int, key: str, log: Path) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.port = port
        self.log = log
        self.headers = {"X-API-Key": key}
        lines = ["POST /run_detect HTTP/1.1", "Host: api", f"X-API-Key: {key}"]
        self.head = "\r\n".join([*lines, "Content-Type: application/x-www-form-urlencoded", ""]).encode()

    def connect(self, content: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(content)
        return connection

    def send(self, content: bytes) -> list[int]:
        """Send bytes, end the sending direction, and return the status of each response."""
        return [int(answer[:3]) for answer in self._ask(content)]

    def send_and_read(self, content: bytes) -> list[Any]:
        """Send bytes, end the sending direction, and return the JSON of each response."""
        return [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in self._ask(content)]

    def _ask(self, content: bytes) -> list[bytes]:
        with self.connect(content) as connection, connection.makefile("rb") as answers:
            connection.shutdown(socket.SHUT_WR)
            return re.split(rb"HTTP/1\.1 (?=\d{3} )", answers.read())[1:]

    def count_jobs(self) -> int:
        return len(requests.get(f"{self.address}/jobs", headers=self.headers, timeout=30).json()["jobs"])


@contextmanager
def open_api(folder: Path, **settings: Any) -> Iterator[Api]:
    """Run the API with its data in a folder. The settings name a running broker."""
    chosen = choose_settings(folder, models_folder=folder / "models", **settings)
    chosen.models_folder.mkdir()
    save_records(chosen.models_folder / chosen.default_model, make_module())
    database = Database(chosen.sqlalchemy_url)
    database.upgrade()
    key = add_app(database, "front")
    database.close()
    command = [sys.executable, "run.py"]
    with (
        (folder / "api.log").open("wb") as log,
        subprocess.Popen(command, env=build_environment(chosen), cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        wait_for_api(f"http://127.0.0.1:{chosen.api_port}", folder)
        yield Api(chosen.api_port, key, folder / "api.log")
        process.terminate()
