"""The end that is set to a request, and moved."""

import threading

from app.server.deadline import allow, end_after


def test_what_takes_too_long_is_ended() -> None:
    ended = threading.Event()
    with end_after(0.01, ended.set):
        assert ended.wait(30)


def test_what_is_over_in_time_is_not_ended() -> None:
    ended = threading.Event()
    with end_after(0.2, ended.set):
        pass
    assert not ended.wait(0.4)


def test_who_is_allowed_more_time_has_it_and_who_is_allowed_less_too() -> None:
    ended = threading.Event()
    with end_after(0.2, ended.set):
        allow(60)
        assert not ended.wait(0.4)
        allow(0.01)
        assert ended.wait(30)


def test_where_nothing_ends_requests_more_time_may_be_asked_for() -> None:
    allow(60)
