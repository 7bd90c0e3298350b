"""Run the commands of the original manual: one worker for all queues, and the development server."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from app.config import ROOT, Settings
from app.database.sessions import Database
from app.demo.client_app import RecordingClientApp, serve
from app.demo.service import build_environment, choose_settings, wait_for_api
from tests.support.library import Library, Scan
from tests.support.service import Document, Service, unblock_page

SMALL = Scan(300, 400)


@contextmanager
def run_one_worker(folder: Path, broker_url: str, models: Path) -> Iterator[Service]:
    """Run the API with ``python run.py`` and a single worker that consumes all queues."""
    receiver = RecordingClientApp()
    worker = ["-A", "app.app.celery", "worker", "-B", "-c", "1", "--loglevel=info", "-P", "threads"]
    with ExitStack() as stack:
        client_url = stack.enter_context(serve(receiver.create_app()))
        small = {"heartbeat_seconds": 0.5, "ready_seconds": 4, "batch_size": 1}
        values = {"celery_broker_url": broker_url, "debug": True, "client_app_url": client_url, "models_folder": models}
        settings = choose_settings(folder, **values, **small)
        Database(settings.sqlalchemy_url).upgrade()
        for command in ([str(Path(sys.executable).parent / "celery"), *worker], [sys.executable, "run.py"]):
            stack.callback(stop, start(command, settings))
        api = f"http://127.0.0.1:{settings.api_port}"
        wait_for_api(api, folder)
        yield Service(api, settings, receiver)


def test_a_single_worker_stays_ready_while_it_runs_a_long_stage(
    tmp_path: Path, broker_url: str, small_models: Path, library: Library
) -> None:
    def is_ready() -> bool:
        return requests.get(f"{service.api}/readyz", timeout=10).status_code == 200

    with run_one_worker(tmp_path, broker_url, small_models) as service:
        url = library.offer_manifest([SMALL])
        job_id = service.detect(url)
        assert service.wait_until_finished(job_id)["state"] == "done"
        service.poll(is_ready, bool)
        with service.block_page(Document(url, job_id)) as page:
            blocked = service.detect(url)
            service.wait_for_row(blocked, lambda job: job.starts == 1)
            end = time.monotonic() + 1.5 * service.settings.ready_seconds
            while time.monotonic() < end:
                assert is_ready()
                time.sleep(0.1)
            assert not service.get_job(blocked)["finished"]
            unblock_page(page)
            service.wait_until_finished(blocked)


@pytest.fixture
def _default_sigint() -> Iterator[None]:
    """Restore the default SIGINT handler: a shell script starts background processes with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_default_sigint")
def test_ctrl_c_stops_the_development_server(tmp_path: Path) -> None:
    settings = choose_settings(tmp_path, debug=True)
    process = start([sys.executable, "run.py"], settings)
    wait_for_api(f"http://127.0.0.1:{settings.api_port}", tmp_path)
    for each in [*psutil.Process(process.pid).children(), process]:
        each.send_signal(signal.SIGINT)
    process.wait(20)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{settings.api_port}/models", timeout=2)


def start(command: list[str], settings: Settings) -> subprocess.Popen[bytes]:
    with (settings.data_folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=log, stderr=log)


def stop(process: subprocess.Popen[bytes]) -> None:
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        each.terminate()
    process.wait(30)
