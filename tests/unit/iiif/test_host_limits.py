import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import FetchError
from app.iiif.hosts import HostRule
from tests.support.fetching import Clock, build_limits, check_small_requests_go_first


class Counter:
    """Counts the threads inside a block, and their maximum."""

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
def test_simultaneous_requests_to_a_host_are_limited(connections: int) -> None:
    limits, counter = build_limits(HostRule(connections, 0)), Counter()
    together = threading.Barrier(connections)

    def ask() -> None:
        with limits.slot("library.example"), counter:
            together.wait(10)

    with ThreadPoolExecutor(4 * connections) as executor:
        for future in [executor.submit(ask) for _ in range(4 * connections)]:
            future.result()
    assert counter.most == connections


def test_hosts_do_not_wait_for_each_other() -> None:
    limits = build_limits(HostRule(1, 0))
    with limits.slot("slow.example"), ThreadPoolExecutor(1) as executor:

        def ask() -> str:
            with limits.slot("fast.example"):
                return "done"

        assert executor.submit(ask).result(10) == "done"


def test_requests_to_a_host_are_an_interval_apart(clock: Clock) -> None:
    limits = build_limits(HostRule(4, 0.5), clock)
    starts = []
    for _ in range(3):
        with limits.slot("library.example"):
            starts.append(clock.now)
    assert starts == [1000, 1000.5, 1001]


def test_a_pause_affects_one_host_only(clock: Clock) -> None:
    limits = build_limits(HostRule(4, 0.5), clock)
    limits.pause("library.example", 60)
    limits.pause("library.example", 5)
    with limits.slot("other.example"):
        assert clock.now == 1000
    with limits.slot("library.example"):
        assert clock.now == 1060


def test_a_slot_is_released_when_the_request_fails() -> None:
    limits = build_limits(HostRule(1, 0))
    for _ in range(2):
        with pytest.raises(OSError, match="cut"), limits.slot("library.example"):
            raise OSError("cut")


def test_large_images_have_a_longer_interval(clock: Clock) -> None:
    gallica = HostRule(4, 1, image_size=1000, large_interval_seconds=15)
    limits = build_limits(HostRule(4, 0), clock, gallica_example=gallica)
    starts = []
    for longest in (2000, 1000, None, 0, 1001):
        with limits.slot("gallica.example", longest):
            starts.append(clock.now)
    assert starts == [1000, 1001, 1015, 1016, 1030]


def test_a_pause_extends_waits_that_have_begun(clock: Clock) -> None:
    limits = build_limits(HostRule(4, 10), clock)
    with limits.slot("library.example"):
        pass
    slept: list[float] = []

    def sleep_and_be_paused(seconds: float) -> None:
        if not slept:
            limits.pause("library.example", 60)
        slept.append(seconds)
        clock.now += seconds

    limits._sleep = sleep_and_be_paused
    with limits.slot("library.example"):
        assert clock.now == 1060


def test_small_requests_continue_while_large_ones_wait(clock: Clock) -> None:
    limits = build_limits(HostRule(1, 0, image_size=1000, large_interval_seconds=60), clock)
    resume, waiting = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.set()
        resume.wait(20)
        clock.sleep(seconds)

    limits._sleep = sleep
    check_small_requests_go_first(limits, waiting, resume)
    assert clock.now == 1000 + 3 * 60


def test_large_requests_with_slots_run_at_the_same_time(clock: Clock) -> None:
    limits = build_limits(HostRule(2, 0, image_size=1000, large_interval_seconds=60), clock)
    with limits.slot("library.example", None), limits.slot("library.example", None):
        assert clock.now == 1060


@pytest.mark.parametrize("longest", [0, None])
def test_a_wait_that_would_be_too_long_is_an_error(clock: Clock, longest: int | None) -> None:
    limits = build_limits(HostRule(1, 0.5, image_size=1000, large_interval_seconds=0.5), clock)
    limits.pause("library.example", 60)
    with pytest.raises(FetchError, match=r"library\.example is busy"), limits.slot("library.example", longest, 20):
        pass
    assert clock.slept == []
    with limits.slot("library.example", longest, 70):
        assert clock.now == 1060
    with limits.slot("library.example", longest, 20):
        assert clock.now == 1060.5


def test_an_interrupted_wait_releases_the_semaphore(clock: Clock) -> None:
    limits = build_limits(HostRule(1, 1, image_size=1000, large_interval_seconds=60), clock)
    with limits.slot("library.example", None):
        pass

    def interrupt(seconds: float) -> None:
        raise InterruptedError

    for longest in (0, None):
        limits._sleep = interrupt
        with pytest.raises(InterruptedError), limits.slot("library.example", longest):
            pass
        limits._sleep = clock.sleep
        with limits.slot("library.example", longest):
            pass
    assert clock.now == 1060
