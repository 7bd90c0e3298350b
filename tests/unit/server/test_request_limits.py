"""Deadlines of connections."""

import socket
from collections.abc import Iterator

import pytest
from flask import Flask

from app.server.request_limits import clear_deadline, drop_expired_connections, set_deadline, set_request_deadline


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours
        clear_deadline(ours)


def is_dropped(connection: socket.socket) -> bool:
    """Drop the expired connections; return whether reading from this one ends at once."""
    drop_expired_connections()
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_connection_is_dropped_at_its_deadline(connection: socket.socket) -> None:
    set_deadline(connection, 0)
    assert is_dropped(connection)


def test_a_connection_is_kept_before_its_deadline(connection: socket.socket) -> None:
    set_deadline(connection, 60)
    assert not is_dropped(connection)


def test_a_connection_without_a_deadline_is_kept(connection: socket.socket) -> None:
    set_deadline(connection, 0)
    clear_deadline(connection)
    assert not is_dropped(connection)


def test_dropping_a_closed_connection_raises_no_error(connection: socket.socket) -> None:
    set_deadline(connection, 0)
    connection.close()
    drop_expired_connections()


def test_the_deadline_of_a_request_can_be_moved(connection: socket.socket) -> None:
    set_deadline(connection, 0)
    with Flask("x").test_request_context(environ_overrides={"gunicorn.socket": connection}):
        set_request_deadline(60, idle_timeout=5)
        assert connection.gettimeout() == 5
        assert not is_dropped(connection)
        set_request_deadline(0)
        assert is_dropped(connection)


def test_a_server_without_deadlines_ignores_them() -> None:
    with Flask("x").test_request_context():
        set_request_deadline(60)
