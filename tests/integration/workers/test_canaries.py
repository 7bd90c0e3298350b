"""Conditions for sending a canary. ``test_operating.py`` tests canaries with real workers."""

from collections.abc import Iterator

import pytest
from flask import Flask

from app.workers.queue import JobQueue


@pytest.fixture
def queue(app: Flask) -> Iterator[JobQueue]:
    queue = app.extensions["queue"]
    queue.loader.import_default_modules()
    queue.set_current()
    return queue


def send_canary(queue: JobQueue, to: str) -> int:
    """Send a canary like the schedule; return the number of messages in the queue."""
    entry = queue.conf.beat_schedule[f"canary-{to}"]
    queue.tasks[entry["task"]].apply_async(**entry["options"])
    return int(queue.services.broker.llen(to))


@pytest.mark.parametrize("name", ["io", "gpu", "post"])
def test_an_idle_queue_is_sent_a_canary(queue: JobQueue, name: str) -> None:
    assert send_canary(queue, name) == 1


def test_canaries_do_not_pile_up_before_a_dead_worker(queue: JobQueue) -> None:
    assert [send_canary(queue, "gpu") for _ in range(3)] == [1, 1, 1]


def test_a_queue_with_a_recent_heartbeat_is_sent_no_canary(queue: JobQueue) -> None:
    queue.services.heartbeats.record("gpu")
    assert (send_canary(queue, "gpu"), send_canary(queue, "io")) == (0, 1)
