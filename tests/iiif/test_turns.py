import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.iiif.hosts import HostLimits
from tests.iiif.conftest import Clock


class Counter:
    """How many are inside at the same time, and the most there ever were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.inside -= 1


@pytest.mark.parametrize("connections", [1, 3])
def test_a_host_gets_no_more_requests_at_once_than_allowed(connections: int) -> None:
    limits, counter = HostLimits(connections, 0), Counter()
    together = threading.Barrier(connections)

    def ask() -> None:
        with limits.turn("library.example"), counter:
            together.wait(10)

    with ThreadPoolExecutor(4 * connections) as executor:
        for future in [executor.submit(ask) for _ in range(4 * connections)]:
            future.result()
    assert counter.most == connections


def test_hosts_do_not_wait_for_each_other() -> None:
    limits = HostLimits(1, 0)
    with limits.turn("slow.example"), ThreadPoolExecutor(1) as executor:

        def ask() -> str:
            with limits.turn("fast.example"):
                return "done"

        assert executor.submit(ask).result(10) == "done"


def test_requests_to_a_host_are_an_interval_apart(clock: Clock) -> None:
    limits = HostLimits(4, 0.5, clock.tell, clock.sleep)
    starts = []
    for _ in range(3):
        with limits.turn("library.example"):
            starts.append(clock.now)
    assert starts == [1000, 1000.5, 1001]


def test_a_paused_host_gets_nothing_and_others_go_on(clock: Clock) -> None:
    limits = HostLimits(4, 0.5, clock.tell, clock.sleep)
    limits.pause("library.example", 60)
    limits.pause("library.example", 5)
    with limits.turn("other.example"):
        assert clock.now == 1000
    with limits.turn("library.example"):
        assert clock.now == 1060


def test_a_turn_is_given_back_when_the_request_fails() -> None:
    limits = HostLimits(1, 0)
    for _ in range(2):
        with pytest.raises(OSError, match="cut"), limits.turn("library.example"):
            raise OSError("cut")
