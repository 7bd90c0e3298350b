"""Unit tests may not open sockets, databases or processes."""

import socket
import sqlite3.dbapi2
import subprocess
import threading
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _forbid_external_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    # An earlier test of this process may have left a thread that is still finishing a request.
    earlier = set(threading.enumerate()) - {threading.current_thread()}

    def forbid(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def refuse(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() in earlier:
                return original(*arguments, **options)
            raise AssertionError(
                "A unit test must not open a socket, database or process: move it to tests/integration."
            )

        monkeypatch.setattr(owner, name, refuse)

    forbid(socket.socket, "connect")
    forbid(socket.socket, "bind")
    forbid(sqlite3.dbapi2, "connect")
    forbid(subprocess.Popen, "__init__")
