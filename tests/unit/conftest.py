"""A unit test stays in its process: it opens no socket, no database and no other process."""

import socket
import sqlite3.dbapi2
import subprocess
import threading
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # An earlier test of the same process may have left a thread that finishes a request.
    earlier = set(threading.enumerate()) - {threading.current_thread()}

    def forbid(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def refuse(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() in earlier:
                return original(*arguments, **options)
            raise AssertionError("A unit test opens no socket, database or process: move it to tests/integration.")

        monkeypatch.setattr(owner, name, refuse)

    forbid(socket.socket, "connect")
    forbid(socket.socket, "bind")
    forbid(sqlite3.dbapi2, "connect")
    forbid(subprocess.Popen, "__init__")
