"""The time that a connection has until it is cut."""

import socket
from collections.abc import Iterator

import pytest
from flask import Flask

from app.server.request_limits import allow, cut_late_connections, limit_time, remove_time_limit


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours
        remove_time_limit(ours)


def is_cut(connection: socket.socket) -> bool:
    """Cut what is late, and tell whether reading ends at once."""
    cut_late_connections()
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_connection_is_cut_when_its_time_is_over(connection: socket.socket) -> None:
    limit_time(connection, 0)
    assert is_cut(connection)


def test_a_connection_is_not_cut_before(connection: socket.socket) -> None:
    limit_time(connection, 60)
    assert not is_cut(connection)


def test_a_connection_without_a_limit_is_not_cut(connection: socket.socket) -> None:
    limit_time(connection, 0)
    remove_time_limit(connection)
    assert not is_cut(connection)


def test_a_connection_that_has_ended_is_cut_without_an_error(connection: socket.socket) -> None:
    limit_time(connection, 0)
    connection.close()
    cut_late_connections()


def test_a_request_may_be_given_more_time_or_less(connection: socket.socket) -> None:
    limit_time(connection, 0)
    with Flask("x").test_request_context(environ_overrides={"gunicorn.socket": connection}):
        allow(60, silence=5)
        assert connection.gettimeout() == 5
        assert not is_cut(connection)
        allow(0)
        assert is_cut(connection)


def test_a_request_to_another_server_may_ask_for_time() -> None:
    with Flask("x").test_request_context():
        allow(60)
