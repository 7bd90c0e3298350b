"""Headers in which a proxy names the public address of the API. URLs in responses are built from it.

=========================  ==============================================================================
header                     trusted with ``PROXIES``
=========================  ==============================================================================
``X-Forwarded-For``        the value that the outermost of the proxies added
``X-Forwarded-Proto``      the same, if it is ``http`` or ``https``
``X-Forwarded-Prefix``     the last value, if it is a path; the proxy has removed it from the request
``X-Forwarded-Host``       the last value, if the proxy has replaced the Host header by an address of this machine;
                           other proxies may pass on the value that a client sent
``X-Forwarded-Port``       the same, if the host has no port
=========================  ==============================================================================
"""

import re
from collections.abc import Mapping
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from app.setting_urls import LOCAL_HOSTS

# Two slashes at the start would make the address of another host of a relative URL.
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?")


def read_prefix(text: str) -> str:
    """Return the path of the API, such as ``/extractor``; "" if the text is not a path."""
    path = text.rstrip("/")
    return path if _PREFIX.fullmatch(path) else ""


class TrustedProxies:
    """WSGI middleware that applies the headers of the proxies, and drops those that are malformed.

    Args:
        wsgi_app: Application to call.
        count: Number of proxies.
    """

    def __init__(self, wsgi_app: Any, count: int) -> None:
        self._fixed = ProxyFix(wsgi_app, x_for=count, x_proto=count, x_host=1, x_port=1, x_prefix=1)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        proto = environ.pop("HTTP_X_FORWARDED_PROTO", "").lower()
        if re.fullmatch(r"https?(\s*,\s*https?)*", proto):
            environ["HTTP_X_FORWARDED_PROTO"] = proto
        if prefix := read_prefix(_pop_last(environ, "HTTP_X_FORWARDED_PREFIX")):
            environ["HTTP_X_FORWARDED_PREFIX"] = prefix
        host, port = _pop_last(environ, "HTTP_X_FORWARDED_HOST"), _pop_last(environ, "HTTP_X_FORWARDED_PORT")
        if _is_replaced(environ.get("HTTP_HOST", "")):
            forwarded = _HOST.fullmatch(host)
            if forwarded:
                environ["HTTP_X_FORWARDED_HOST"] = host
            if re.fullmatch("[0-9]{1,5}", port) and not (forwarded and forwarded["port"]):
                environ["HTTP_X_FORWARDED_PORT"] = port
        return self._fixed(environ, start_response)


def read_client_address(environ: Mapping[str, Any], count: int) -> str | None:
    """Return the IP address of a client, for decisions about access; None if the client may have forged it.

    Without trusted proxies, a forwarded request comes from a proxy that ``PROXIES`` does not count: its address is that
    of the proxy. A header with fewer values than proxies has not passed all of them.

    Args:
        environ: WSGI environment, after ``TrustedProxies``.
        count: Number of trusted proxies.
    """
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
    passed = len(forwarded.split(",")) if forwarded else 0
    is_certain = not passed or 0 < count <= passed
    return environ.get("REMOTE_ADDR") or None if is_certain and "HTTP_FORWARDED" not in environ else None


def _pop_last(environ: dict[str, Any], name: str) -> str:
    """Remove a header and return its last value."""
    return str(environ.pop(name, "")).rpartition(",")[2].strip()


def _is_replaced(host: str) -> bool:
    """Return whether a Host header is an address of this machine, and so not that of the client's request."""
    found = _HOST.fullmatch(host)
    return found is not None and found["name"].strip("[]").lower() in LOCAL_HOSTS
