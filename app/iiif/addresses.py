"""Which network addresses a request may reach.

URLs come from client apps and from manifests: without a check, they would reach whatever the server reaches, such as
its own Redis or a cloud's metadata service. A name is resolved once, every address that it has is checked, and the
connection goes to the address that was checked, so a second DNS answer changes nothing.
"""

import ipaddress
import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.errors import AddressRefused


class AddressGuard:
    """Decides what may be connected to.

    Args:
        trusted: Hosts that may be private: ``name``, ``name:port``, an address, or a network (``10.1.0.0/16``).
    """

    def __init__(self, trusted: frozenset[str] = frozenset()) -> None:
        self._names = {entry.lower() for entry in trusted}
        self._networks = [network for entry in trusted if (network := _parse_network(entry))]

    def resolve(self, host: str, port: int) -> str:
        """Return an address to connect to.

        Raises:
            AddressRefused: The name has a private address and is not trusted.
            OSError: The name has no address.
        """
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if host.lower() in self._names or f"{host}:{port}".lower() in self._names:
            return found[0]
        for address in found:
            if not self._is_open(address):
                raise AddressRefused(
                    f"{host} is at the private address {address}: "
                    f"if it may be asked, add {host}:{port} to TRUSTED_HOSTS in .env."
                )
        return found[0]

    def _is_open(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        public = mapped.is_global and not mapped.is_multicast
        return public or any(mapped in network for network in self._networks)


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


class GuardedAdapter(HTTPAdapter):
    """A transport of ``requests`` whose every connection, also after a redirect, asks the guard."""

    def __init__(self, guard: AddressGuard, pool_size: int = 32) -> None:
        self._guard = guard
        super().__init__(pool_maxsize=pool_size, pool_connections=pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = _build_pools(self._guard)


def _build_pools(guard: AddressGuard) -> dict[str, type[HTTPConnectionPool]]:
    def connect(connection: HTTPConnection, open_socket: Any) -> socket.socket:
        # urllib3 connects to _dns_host and keeps it for the Host header and the certificate: the checked address
        # stands there only while the socket is opened.
        name = connection._dns_host
        connection._dns_host = guard.resolve(name, connection.port)
        try:
            return open_socket()
        finally:
            connection._dns_host = name

    class Guarded(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self, super()._new_conn)

    class GuardedTLS(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self, super()._new_conn)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Guarded

    class TLSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTLS

    return {"http": Pool, "https": TLSPool}
