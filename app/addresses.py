"""Which network addresses a request may reach.

URLs come from client apps and from manifests: without a check, they would reach whatever the server reaches, such as
its own Redis or a cloud's metadata service. A name is resolved once, every address that it has is checked, and the
connection goes to the address that was checked, so a second DNS answer changes nothing.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from app.errors import AddressRefused

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class AddressGuard:
    """Decides what may be connected to.

    Args:
        trusted: Hosts that may be private: ``name``, ``name:port``, an address, or a network (``10.1.0.0/16``).
    """

    def __init__(self, trusted: frozenset[str] = frozenset()) -> None:
        self._names = {entry.lower() for entry in trusted}
        self._networks = [network for entry in trusted if (network := _parse_network(entry))]

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses to connect to, the system's preferred one first.

        Raises:
            AddressRefused: The name has a private address and is not trusted.
            OSError: The name has no address.
        """
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if host.lower() in self._names or f"{host}:{port}".lower() in self._names:
            return found
        for address in found:
            if not self._is_open(address):
                raise AddressRefused(
                    f"{host} is at the private address {address}: "
                    f"if it may be asked, add {host}:{port} to TRUSTED_HOSTS in .env."
                )
        return found

    def _is_open(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address):
            ip = _find_embedded(ip) or ip
        public = ip.is_global and not ip.is_multicast
        return public or any(ip in network for network in self._networks)


def _find_embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for: mapped, 6to4, NAT64 or, long ago, compatible."""
    if ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


class GuardedAdapter(HTTPAdapter):
    """A transport of ``requests`` whose every connection, also after a redirect, asks the guard.

    One thread at a time may use it; any other may :meth:`abort` what it waits for.
    """

    def __init__(self, guard: AddressGuard, pool_size: int = 32) -> None:
        self._guard = guard
        self._in_flight = _InFlight()
        super().__init__(pool_maxsize=pool_size, pool_connections=pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = _build_pools(self._guard, self._in_flight)

    def abort(self) -> None:
        """Cut the connection of the request that runs: whoever reads its headers or body gets an error or an end."""
        sock = self._in_flight.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class GuardedSession(requests.Session):
    """A session of ``requests`` whose connections ask the guard, and which leaves redirects to its caller.

    ``requests`` would read the body of a redirect whole, however long. Neither proxies nor passwords are taken from
    the environment.
    """

    def __init__(self, guard: AddressGuard) -> None:
        super().__init__()
        self.trust_env = False
        self.transport = GuardedAdapter(guard)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self.transport)

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


@dataclass
class _InFlight:
    sock: socket.socket | None = None


def _build_pools(guard: AddressGuard, in_flight: _InFlight) -> dict[str, type[HTTPConnectionPool]]:
    class Guarded(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(guard, self, super()._new_conn)

        def getresponse(self) -> Any:
            in_flight.sock = self.sock
            return super().getresponse()

    class GuardedTLS(Guarded, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Guarded

    class TLSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTLS

    return {"http": Pool, "https": TLSPool}


def _connect(
    guard: AddressGuard, connection: HTTPConnection, open_socket: Callable[[], socket.socket]
) -> socket.socket:
    """Open a socket to the first checked address that answers."""
    # urllib3 connects to _dns_host and keeps it for the Host header and the certificate: the checked address stands
    # there only while the socket is opened.
    name = connection._dns_host
    try:
        *others, last = guard.resolve(name, connection.port)
        for connection._dns_host in others:
            with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                return open_socket()
        connection._dns_host = last
        return open_socket()
    except socket.gaierror as error:
        raise NameResolutionError(name, connection, error) from error
    finally:
        connection._dns_host = name
