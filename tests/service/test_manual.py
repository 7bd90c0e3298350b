"""Follow the original manual literally, in a copy of the repository that has its own ``.env``.

Each way to start the service must give the same settings to every process. In particular, the API and the workers must
use the same broker and database number.
"""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest
import redis
import requests

from app.config import ROOT
from app.demo.client_app import RecordingClientApp, serve
from app.demo.iiif_server import create_iiif_server
from app.demo.service import choose_settings, find_free_port, wait_for_api
from tests.support.broker import run_broker

TWO_COMMANDS = ("celery -A app.app.celery worker -B -c 1 --loglevel=info -P threads", "python run.py")
RUN_SH = ("bash run.sh",)
KEY = "p8xk3uVtY2gq0c1h"
HEADERS = {"X-API-Key": KEY}
# The worker then does not import torch before the first detection.
WITHOUT_DEFAULT = {"DEFAULT_MODEL": "none.pt", "FETCH_ATTEMPTS": "1"}


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that requires a password; the address has no database number."""
    address = f"redis://:s3cret+@127.0.0.1:{find_free_port()}"
    settings = choose_settings(tmp_path_factory.mktemp("broker"), celery_broker_url=address)
    with run_broker(settings):
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository without ``.env`` and data folder; its virtual environment links to the present one."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run.py", "run.sh", "requirements.txt", ".env.template"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("iiif", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    venv = tmp_path / "venv"
    venv.mkdir()
    for path in Path(sys.prefix).iterdir():
        (venv / path.name).symlink_to(path)
    stamp = venv / ".requirements.sha256"  # tells run.sh that the packages are installed
    stamp.unlink(missing_ok=True)
    stamp.write_bytes(subprocess.run(["sha256sum", "requirements.txt"], cwd=tmp_path, capture_output=True).stdout)
    return tmp_path


def test_run_sh_runs_a_job_with_the_broker_in_the_env_file(folder: Path, broker: str) -> None:
    with run_service(folder, RUN_SH, {}, CELERY_BROKER_URL=broker, DEBUG="True") as service:
        check_a_detection(*service)
    assert list_used_databases(broker) == ["db1"]


def test_two_commands_run_a_job_with_the_broker_in_the_environment(folder: Path, broker: str) -> None:
    with run_service(folder, TWO_COMMANDS, {"CELERY_BROKER_URL": broker}, DEBUG="True") as service:
        check_a_detection(*service)
    assert list_used_databases(broker) == ["db1"]


def test_two_commands_fail_a_job_with_the_broker_in_the_env_file(folder: Path, broker: str) -> None:
    with run_service(folder, TWO_COMMANDS, WITHOUT_DEFAULT, CELERY_BROKER_URL=broker, DEBUG="False") as service:
        check_a_failed_job(*service)
    assert list_used_databases(broker) == ["db0"]


def test_run_sh_names_a_malformed_broker_url_without_its_password(folder: Path) -> None:
    write_env(folder, {"CELERY_BROKER_URL": "redis://:q7zx#k9yw@localhost:6379"})
    run = subprocess.run(["bash", "run.sh"], cwd=folder, capture_output=True, text=True, timeout=60)
    said = run.stdout + run.stderr
    assert run.returncode == 1
    assert "CELERY_BROKER_URL" in said
    assert "percent-encode" in said
    assert not any(part in said for part in ("q7zx", "k9yw", "Traceback"))


def test_run_sh_refuses_a_virtual_environment_of_python_3_10(folder: Path) -> None:
    (folder / "venv" / ".requirements.sha256").unlink()
    python = folder / "venv" / "bin" / "python"
    python.parent.unlink()
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.10.12; else exit 1; fi\n')
    python.chmod(0o755)
    run = subprocess.run(["bash", "run.sh", "setup"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "venv/ has Python 3.10.12" in run.stderr
    assert "remove venv/" in run.stderr


def list_used_databases(broker: str) -> list[str]:
    with redis.Redis.from_url(broker) as client:
        return list(client.info("keyspace"))


@contextmanager
def run_service(
    folder: Path, commands: tuple[str, ...], environment: dict[str, str], **values: str
) -> Iterator[tuple[str, RecordingClientApp]]:
    """Configure and start the service as the manual does; yield the URL of the API and the client app.

    Args:
        folder: Copy of the repository.
        commands: Commands that start the service.
        environment: Additional environment variables of the commands.
        **values: Settings for the ``.env`` file.
    """
    receiver = RecordingClientApp()
    port = find_free_port()
    with serve(receiver.create_app()) as client_url:
        create_key_database(folder / "keys.db")
        write_env(folder, values | {"API_PORT": str(port), "CLIENT_APP_URL": client_url, "DB_NAME": "keys"})
        with run_commands(folder, commands, environment):
            api = f"http://127.0.0.1:{port}"
            wait_for_api(api, folder)
            yield api, receiver


def submit(api: str, library: str) -> str:
    """Request a detection on the document of a library; return the address of the job."""
    form = {"manifest_url": f"{library}/manifest.json", "model": "illustrations"}
    answer = requests.post(f"{api}/run_detect", headers=HEADERS, data=form, timeout=10)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status_url"])


def check_a_detection(api: str, receiver: RecordingClientApp) -> None:
    """Check that the client app receives a detection."""
    with serve(create_iiif_server(ROOT / "iiif" / "sample")) as library:
        url = submit(api, library)
        received = receiver.wait(timeout=240)
        job = requests.get(url, headers=HEADERS, timeout=10).json()
    assert job["state"] == "done"
    assert [each.path for each in received] == ["/annotate/sample"]
    assert b"1 " in received[0].files["annotation_file"][1]


def check_a_failed_job(api: str, _: RecordingClientApp) -> None:
    """Check that the worker runs a job, whose library does not exist."""
    url, end = submit(api, f"http://127.0.0.1:{find_free_port()}"), time.monotonic() + 240
    while not (job := requests.get(url, headers=HEADERS, timeout=10).json())["finished"]:
        assert time.monotonic() < end, job
        time.sleep(0.1)
    assert (job["state"], job["error"]["code"]) == ("failed", "fetch_failed")


def create_key_database(path: Path) -> None:
    """Create the table of API keys with the SQL statements of the manual."""
    table = """CREATE TABLE apps (
       id INTEGER PRIMARY KEY AUTOINCREMENT,
       app_name CHAR(50) NOT NULL,
       app_key CHAR(80) NOT NULL
    );"""
    with closing(sqlite3.connect(path)) as database:
        database.execute(table)
        database.execute("INSERT INTO apps (app_name, app_key) VALUES ('front', ?);", [KEY])
        database.commit()


def write_env(folder: Path, values: dict[str, str]) -> None:
    """Write ``.env`` from the template with changed values; loopback addresses are trusted."""
    text = (folder / ".env.template").read_text()
    for name, value in values.items():
        text, changed = re.subn(rf"^{name}=\S*", f'{name}="{value}"', text, flags=re.MULTILINE)
        assert changed == 1, name
    (folder / ".env").write_text(f'{text}\nTRUSTED_HOSTS="127.0.0.1"\n')


@contextmanager
def run_commands(folder: Path, commands: tuple[str, ...], environment: dict[str, str]) -> Iterator[None]:
    """Run commands in the background, in the folder and with its virtual environment activated."""
    path = f"{folder}/venv/bin{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as stack:
        for command in commands:
            log = stack.enter_context((folder / f"{command.split()[0]}.log").open("wb"))
            started = subprocess.Popen(
                shlex.split(command), env=os.environ | {"PATH": path} | environment, cwd=folder, stdout=log, stderr=log
            )
            stack.callback(stop, started)
        yield


def stop(process: subprocess.Popen[bytes]) -> None:
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        each.terminate()
    process.wait(60)
