"""Test the order in which ways are timed, and the load of busy processes."""

import psutil

from bench.timing import BUSY, QUIET, Timings, keep_busy, take_turns


def test_ways_run_in_turn_and_in_reverse_order_every_second_round() -> None:
    calls: list[str] = []
    timings = take_turns({"one": lambda: calls.append("one"), "two": lambda: calls.append("two")}, rounds=2, busy=1)
    forward, reverse = ["one", "two"], ["two", "one"]
    warm_up = forward
    assert calls == warm_up + 2 * forward + 2 * reverse
    assert {load: {way: len(times) for way, times in ways.items()} for load, ways in timings.seconds.items()} == {
        load: {"one": 2, "two": 2} for load in (QUIET, BUSY)
    }


def test_only_the_quiet_load_is_measured_without_busy_processes() -> None:
    assert list(take_turns({"one": bool}, rounds=1, busy=0).seconds) == [QUIET]


def test_ratio_compares_ways_of_the_same_round() -> None:
    timings = Timings({QUIET: {"way": [1.0, 4.0, 9.0], "floor": [1.0, 2.0, 3.0]}})
    assert timings.ratio(QUIET, "way", "floor") == 2.0
    assert timings.median(QUIET, "way") == 4.0


def test_busy_processes_end_with_the_measurement() -> None:
    before = set(psutil.Process().children())
    with keep_busy(2):
        assert len(set(psutil.Process().children()) - before) == 2
    assert set(psutil.Process().children()) == before
