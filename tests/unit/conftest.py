"""A unit test stays in its process: it opens no socket, no database and no other process."""

import socket
import sqlite3.dbapi2
import subprocess
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError("A unit test opens no socket, database or process: move it to tests/integration.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
