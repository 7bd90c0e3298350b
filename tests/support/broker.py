"""A real broker, started as ``run.sh`` does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import redis

from app.config import ROOT, Settings
from app.demo.service import build_environment


@contextmanager
def run_broker(settings: Settings) -> Iterator[psutil.Process]:
    """Run a broker at the URL of the settings; yield its process once it answers."""
    command = [sys.executable, "-m", "app.workers.broker", "serve"]
    with subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for_broker(settings.broker_url)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def wait_for_broker(url: str) -> None:
    # The client retries with growing delays until the server listens.
    retry = redis.retry.Retry(redis.backoff.ExponentialBackoff(cap=0.5, base=0.01), retries=60)
    with redis.Redis.from_url(url, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
        client.ping()
