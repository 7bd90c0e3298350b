"""Two workers of one queue share its jobs."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from app.config import ROOT
from app.demo.service import build_environment
from tests.support.library import Library, Scan
from tests.support.service import Document, Service, unblock_page

JOBS = 8
SMALL = Scan(300, 400)


@contextmanager
def run_second_worker(service: Service, name: str) -> Iterator[Path]:
    """Run another ``gpu`` worker with the command of docs/scaling.md, from when it is ready; yield its log."""
    log = service.settings.data_folder / "logs" / f"second-{name}.log"
    command = [sys.executable, "-m", "app.workers", "gpu", "--name", name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=build_environment(service.settings), cwd=ROOT, stdout=output, stderr=output
        )
    try:
        service.poll(lambda: log.read_text(), lambda text: " ready." in text or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.terminate()
        process.wait(60)


def ping_workers(service: Service) -> list[str]:
    """Return the names of the ``gpu`` workers that answer, from the command of docs/operations.md."""
    command = [str(Path(sys.executable).parent / "celery"), "-A", "app.app.celery", "inspect", "ping"]
    done = subprocess.run(
        command, env=build_environment(service.settings), cwd=ROOT, capture_output=True, text=True, check=False
    )
    return re.findall(r"->.*?(gpu\w*)@\S+: .*OK", done.stdout) or [done.stdout + done.stderr]


def list_runs(log: Path) -> list[str]:
    return re.findall(r"job ([0-9a-f]{32}): run begins", log.read_text())


def test_two_workers_share_the_jobs_and_run_each_once(service: Service, document: Document, library: Library) -> None:
    name = "gpu2"
    first = service.settings.data_folder / "logs" / "gpu.log"
    with run_second_worker(service, name) as second:
        assert sorted(ping_workers(service)) == sorted(["gpu", name])
        with service.block_page(document) as page:
            held = service.detect(document.url)
            service.wait_for_row(held, lambda job: job.starts == 1)
            jobs = [service.detect(library.offer_manifest([SMALL])) for _ in range(JOBS)]
            # One worker waits for the blocked page; the other one runs the rest.
            assert {service.wait_until_finished(job)["state"] for job in jobs} == {"done"}
            unblock_page(page)
            service.wait_until_finished(held)
        later = [service.detect(library.offer_manifest([SMALL])) for _ in range(JOBS)]
        assert {service.wait_until_finished(job)["state"] for job in later} == {"done"}
        runs = [job for log in (first, second) for job in list_runs(log) if job in {*jobs, *later}]
    assert sorted(runs) == sorted([*jobs, *later])
