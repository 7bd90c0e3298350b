"""Protection against requests to private network addresses (SSRF).

URLs come from client apps and manifests. Without a check, they could reach internal services such as Redis or the
metadata service of a cloud. A host name is resolved once, and all its addresses are checked. The connection uses a
checked address, so a later DNS answer changes nothing (DNS rebinding).
"""

import contextlib
import ipaddress
import re
import socket
from urllib.parse import unquote, urlsplit

import idna

from app.errors import AddressRefused

LONGEST_URL = 4096  # most servers accept little more, and error messages quote the URL
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Not public, though global for Python: local-use NAT64 (RFC 8215), SIIT (RFC 2765), site-local (RFC 3879).
_NOT_PUBLIC = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "::ffff:0:0:0/96", "fec0::/10")))
_LONGEST_NAME = 254  # limit of the DNS, including the trailing dot
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_OWN_PORTS = {"http": 80, "https": 443}


class AddressGuard:
    """Decides which hosts may be connected to.

    Args:
        trusted: Hosts that may have private addresses: ``name``, ``name:port``, an address, or a network
            (``10.1.0.0/16``).
    """

    def __init__(self, trusted: frozenset[str] = frozenset()) -> None:
        self._names = {_spell_entry(entry) for entry in trusted}
        self._networks = [network for entry in trusted if (network := _parse_network(entry))]

    def resolve(self, host: str, port: int) -> list[str]:
        """Resolve a host. Return its addresses in the order of preference of the system.

        Raises:
            AddressRefused: The host has a private address and is not trusted.
            OSError: The host name cannot be resolved.
        """
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if host.lower() in self._names or f"{host}:{port}".lower() in self._names:
            return found
        for address in found:
            if not self._is_open(address):
                raise AddressRefused(
                    f"{host} has the private address {address}; "
                    f"to allow requests to it, add {host}:{port} to TRUSTED_HOSTS in .env."
                )
        return found

    def trusts(self, host: str) -> bool:
        """Return whether a host, given as ``name`` or ``name:port``, is trusted by its name or its literal address."""
        name = host.lower()
        bare = re.sub(r":\d+$", "", name) if name.count(":") == 1 or name.startswith("[") else name
        if name in self._names or bare in self._names:
            return True
        address = _parse_network(bare.strip("[]"))
        return address is not None and any(_contains(network, address) for network in self._networks)

    def _is_open(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address):
            ip = _find_embedded(ip) or ip
        public = ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)
        return public or any(ip in network for network in self._networks)


def _find_embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address embedded in an IPv6 address: mapped, 6to4, NAT64 or (deprecated) compatible."""
    if ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _contains(network: _Network, address: _Network) -> bool:
    return network.version == address.version and address.network_address in network


def _spell_entry(entry: str) -> str:
    """Return a trusted name or ``name:port`` in lower case and ASCII."""
    name, colon, port = entry.partition(":")
    return entry.lower() if entry.isascii() else f"{spell_name(name)}{colon}{port}"


def _parse_network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def read_host(url: str) -> str:
    """Return the normalized host of a URL, or "" if it has none.

    The result is in lower case and ASCII (IDNA), without user name and trailing dot. The port is included unless it is
    the default port of the scheme.

    >>> read_host("HTTPS://me@Bücher.example.:443/1"), read_host("http://[::1]:8182")
    ('xn--bcher-kva.example', '[::1]:8182')
    """
    try:
        parts = urlsplit(url)
        name, port = spell_name(parts.hostname or ""), parts.port
    except ValueError:
        return ""
    return name if port in (None, _OWN_PORTS.get(parts.scheme)) else f"{name}:{port}"


def spell_name(name: str) -> str:
    """Return the normalized name of a host, without port. An invalid international name stays as it is."""
    if ":" in name:
        return f"[{name}]" if len(name) <= _LONGEST_NAME else ""
    name = unquote(name).lower()
    if len(name) > _LONGEST_NAME:
        return ""
    if not name.isascii():
        # The names that the current standard excludes (with _ or ☃) may have been registered before it.
        for encode in (lambda: idna.encode(name, uts46=True), lambda: name.encode("idna")):
            with contextlib.suppress(ValueError):
                return encode().decode().rstrip(".")
    return name.rstrip(".")
