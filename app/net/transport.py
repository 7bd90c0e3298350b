"""HTTP transport for outgoing requests: checked addresses only, no automatic redirects, and a deadline."""

import contextlib
import email.utils
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from app.net.addresses import AddressGuard
from app.net.urls import make_requestable

# Number of hosts with open connections, and of connections kept open to each.
_POOL_SIZE = 32


class TrustingAdapter(HTTPAdapter):
    """Transport adapter for ``requests`` that trusts further certificate authorities, in addition to the public ones.

    Args:
        ca_bundle: PEM file with the certificates of the authorities; None for the public ones only.
    """

    def __init__(self, ca_bundle: Path | None = None) -> None:
        self._tls: dict[str, Any] = {}
        if ca_bundle:
            # requests loads the public authorities into this context too, at each connection.
            context = ssl.create_default_context(cafile=ca_bundle)
            # An institution often hands out the authority that signs its certificates, which is not a root.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self._tls = {"ssl_context": context}
        super().__init__(pool_maxsize=_POOL_SIZE, pool_connections=_POOL_SIZE)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **(options | self._tls))

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **(options | self._tls))


class GuardedAdapter(TrustingAdapter):
    """Transport adapter for ``requests`` that checks the address of each connection.

    One thread at a time may use it. Any other thread may :meth:`abort` the running request.

    Args:
        guard: Decides which addresses may be connected to.
        ca_bundle: See :class:`TrustingAdapter`.
    """

    def __init__(self, guard: AddressGuard, ca_bundle: Path | None = None) -> None:
        self.guard = guard
        self.in_flight: socket.socket | None = None
        self.target = ""
        super().__init__(ca_bundle)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _build_pools(self)

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        # The libraries below normalize escapes (%c3 becomes %C3), and some servers compare IDs letter by letter.
        self.target = super().request_url(request, proxies)
        return self.target

    def abort(self) -> None:
        """Close the connection of the running request. The reading thread gets an error or an end of file."""
        if self.in_flight is not None:
            with contextlib.suppress(OSError):
                self.in_flight.shutdown(socket.SHUT_RDWR)


class GuardedSession(requests.Session):
    """A ``requests`` session that checks the address of each connection and does not follow redirects.

    The caller follows redirects itself, because ``requests`` would read the body of a redirect without a size limit.
    Proxies, passwords and ``REQUESTS_CA_BUNDLE`` from the environment are ignored.

    Args:
        guard: Decides which addresses may be connected to.
        ca_bundle: See :class:`TrustingAdapter`.
    """

    def __init__(self, guard: AddressGuard, ca_bundle: Path | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.transport = GuardedAdapter(guard, ca_bundle)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self.transport)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request for the URL as :func:`make_requestable` spells it."""
        url = request.url = make_requestable(str(request.url))
        prepared = super().prepare_request(request)
        prepared.url = url
        return prepared

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _build_pools(adapter: GuardedAdapter) -> dict[str, type[HTTPConnectionPool]]:
    class Guarded(HTTPConnection):
        def connect(self) -> None:
            """Connect to the first checked address that accepts. The Host header and TLS still use the host name."""
            name = self.host
            try:
                *others, last = adapter.guard.resolve(name, self.port)
                for address in others:
                    self.host = address
                    with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                        return super().connect()
                self.host = last
                return super().connect()
            except socket.gaierror as error:
                raise NameResolutionError(name, self, error) from error
            finally:
                self.host = name

        def putrequest(self, method: str, url: str, *flags: bool, **named_flags: bool) -> None:
            super().putrequest(method, adapter.target, *flags, **named_flags)

        def getresponse(self) -> Any:
            adapter.in_flight = self.sock
            return super().getresponse()

    class GuardedTLS(Guarded, HTTPSConnection):
        def connect(self) -> None:
            self.server_hostname = self.host
            super().connect()

    class Pool(HTTPConnectionPool):
        ConnectionCls = Guarded

    class TLSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTLS

    return {"http": Pool, "https": TLSPool}


class Deadline:
    """Context manager that calls a function if the block runs for too long."""

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self.expired = False
        self.seconds = seconds
        self._end = end
        self._started = time.monotonic()
        self._timer = self._build_timer()

    def extend(self, seconds: float) -> None:
        """Give the block more time: ``seconds`` since its start, unless it has more already."""
        if seconds > self.seconds:
            self._timer.cancel()
            self.seconds = seconds
            self._timer = self._build_timer()
            self._timer.start()

    def _build_timer(self) -> threading.Timer:
        timer = threading.Timer(self._started + self.seconds - time.monotonic(), self._expire)
        timer.daemon = True
        return timer

    def _expire(self) -> None:
        self.expired = True
        self._end()

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()


def explain_certificate(error: Exception) -> str:
    """Return why a request failed, such as "no valid TLS certificate (expired)"; "" if it is not the certificate."""
    found = re.search(r"certificate verify failed: ([^(]*[^( ])", str(error))
    if not found:
        return ""
    is_unknown = "issuer" in found[1] or "self-signed" in found[1]
    advice = "; if your institution signed it, CA_BUNDLE must name its authority" if is_unknown else ""
    return f"no valid TLS certificate ({found[1]}){advice}"


def read_reason(response: requests.Response) -> str:
    """Return the reason phrase of a response (``Not Found``): printable characters only, at most 100."""
    return "".join(filter(str.isprintable, response.reason or ""))[:100].strip()


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds in a ``Retry-After`` header, given as a number or a date, or None if it is invalid.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if value is None:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        return float(int(value)) if int(value) >= 0 else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
