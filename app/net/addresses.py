"""Which network addresses a request may reach.

URLs come from client apps and from manifests: without a check, they would reach whatever the server reaches, such as
its own Redis or a cloud's metadata service. A name is resolved once, every address that it has is checked, and the
connection goes to the address that was checked, so a second DNS answer changes nothing.
"""

import contextlib
import ipaddress
import socket
from urllib.parse import urlsplit

import idna

from app.errors import AddressRefused

LONGEST_URL = 4096  # servers take little more, and it stands in the sentence of an error
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_LONGEST_NAME = 254  # of the DNS, with the last dot
_OWN_PORTS = {"http": 80, "https": 443}


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


def read_host(url: str) -> str:
    """Return the host of an address in the one spelling by which it is known here; "" when it has none.

    Lower case, in ASCII as it is looked up, without a user or a last dot, with a port that is not the scheme's own.

    >>> read_host("HTTPS://me@Bücher.example.:443/1"), read_host("http://[::1]:8182")
    ('xn--bcher-kva.example', '[::1]:8182')
    """
    try:
        parts = urlsplit(url)
        name, port = _spell_name(parts.hostname or ""), parts.port
    except ValueError:
        return ""
    return name if port in (None, _OWN_PORTS.get(parts.scheme)) else f"{name}:{port}"


def _spell_name(name: str) -> str:
    if len(name) > _LONGEST_NAME:
        return ""
    if ":" in name:
        return f"[{name}]"
    if not name.isascii():
        with contextlib.suppress(ValueError):  # a name that nobody can have: fetching will say so
            name = idna.encode(name, uts46=True).decode()  # as requests does
    return name.rstrip(".")
