"""URLs in the settings: each is checked at start and read once, because libraries read the same URL differently.

=====================  ==========================  =======================  ==========================
in the broker's URL    kombu (Celery)              redis-py                 :class:`BrokerAddress`
=====================  ==========================  =======================  ==========================
``rediss://`` alone    accepts any certificate     verifies it              verifies it
``CERT_NONE``          known                       unknown                  becomes ``none``
``?db=3``              database 0                  database 3               becomes ``/3``
``/3/``                an error                    database 3               becomes ``/3``
other parameters       ignored                     an error                 refused
=====================  ==========================  =======================  ==========================

If a special character of a password is not percent-encoded, a part of the password becomes a host name or a path.
Messages therefore quote nothing of a URL.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_ENCODE = "percent-encode the special characters of the password, such as %23 for # and %40 for @"
# Printable ASCII without the characters that have a meaning in a URL.
_PLAIN = r"(?:%[0-9a-f]{2}|(?![#/?@%\[\]])[!-~])"
_URL = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+]*)://(?:(?P<user>(?:(?!:){_PLAIN})*)(?::(?P<password>{_PLAIN}*))?@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._~-]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:(?![?#@])[!-~])*)?(?:\?(?P<query>(?:(?![#@])[!-~])*))?",
    re.IGNORECASE,
)
_TLS_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_TLS = {"ssl_cert_reqs", "ssl_check_hostname"} | _TLS_FILES


@dataclass(frozen=True)
class BrokerAddress:
    """The parts of ``CELERY_BROKER_URL``.

    Attributes:
        port: Port; None for the usual one.
        user: Name of an ACL user; empty for the default user.
        database: Database number; None when the URL has none.
        tls: Parameters of TLS, as in the query of the URL; empty without TLS.
    """

    host: str
    port: int | None = None
    user: str = ""
    password: str = ""
    database: int | None = None
    tls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read a URL.

        Raises:
            ValueError: The URL is malformed, or the libraries would read it differently.
        """
        scheme, found = url.partition("://")[0].lower(), _URL.fullmatch(url)
        if scheme not in {"redis", "rediss"}:
            raise ValueError("must start with redis:// or rediss://; UNIX sockets and Sentinel are not supported")
        if found is None or not found["host"]:
            raise ValueError(f"must be {scheme}://:<password>@host:port/database; {_ENCODE}")
        query = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
        paths = [found["path"].strip("/")] if (found["path"] or "").strip("/") else []
        numbers = {*paths, *([query.pop("db")] if "db" in query else [])}
        if len(numbers) > 1 or not all(re.fullmatch("[0-9]{1,5}", number) for number in numbers):
            raise ValueError(f"must end with the number of one database, such as /0; {_ENCODE}")
        return cls(
            found["host"].strip("[]"),
            _read_port(found["port"]),
            _decode(found["user"] or ""),
            _decode(found["password"] or ""),
            next(map(int, numbers), None),
            _read_tls(query, scheme == "rediss"),
        )

    def format(self, database: int) -> str:
        """Return the URL of a database, in the form that kombu, redis-py and limits read alike."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        login = f"{user}:{password}@" if user or password else ""
        query = f"?{urlencode(self.tls)}" if self.tls else ""
        return f"{self._scheme}://{login}{self._place}/{database}{query}"

    @property
    def shown(self) -> str:
        """The address for messages, without user name and password."""
        return f"{self._scheme}://{self._place}"

    @property
    def is_local(self) -> bool:
        return self.host.lower() in LOCAL_HOSTS

    @property
    def _scheme(self) -> str:
        return "rediss" if self.tls else "redis"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def check_database_url(url: str) -> str:
    """Return a ``DATABASE_URL`` that SQLAlchemy and the commands of PostgreSQL read alike.

    Raises:
        ValueError: The URL is malformed, or it names another database.
    """
    if re.fullmatch("sqlite:///.+", url):
        return url
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in {"postgresql", "postgresql+psycopg"}:
        raise ValueError(f"must be postgresql+psycopg://user:<password>@host/name, or sqlite:///<path>; {_ENCODE}")
    _read_port(found["port"])
    _decode(found["password"] or "")
    return url


def check_client_app_url(url: str) -> str:
    """Return a ``CLIENT_APP_URL`` without the slashes at its end.

    Raises:
        ValueError: The URL is incomplete, or it has a user name, which deliveries and logs would show.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if url and ("@" in url or not whole):
        raise ValueError("must be a complete URL such as https://app.example.org, without user name and password")
    return url.rstrip("/")


def check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    """Return addresses and networks, such as ``10.1.2.3`` and ``10.1.0.0/16``, after a check.

    Raises:
        ValueError: An entry is neither, or it contains all addresses.
    """
    for entry in networks:
        try:
            everyone = ipaddress.ip_network(entry).prefixlen == 0
        except ValueError:
            raise ValueError("must be addresses or networks such as 10.1.0.0/16, separated by spaces") from None
        if everyone:
            raise ValueError("must not contain all addresses, because these networks need no API key")
    return networks


def _read_port(port: str | None) -> int | None:
    if port and not 1 <= int(port) <= 65535:
        raise ValueError(f"must have a port from 1 to 65535; {_ENCODE}")
    return int(port) if port else None


def _decode(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"must be UTF-8 text; {_ENCODE}") from None


def _read_tls(query: Mapping[str, str], encrypted: bool) -> dict[str, str]:
    """Return the TLS parameters in the spelling that kombu and redis-py share."""
    if query and (not encrypted or not query.keys() <= _TLS):
        raise ValueError(f"may have only these parameters, with rediss://: {', '.join(sorted(_TLS))}; {_ENCODE}")
    if not encrypted:
        return {}
    if not all(Path(query[name]).is_file() for name in _TLS_FILES & query.keys()):
        raise ValueError(f"must name files that exist in {', '.join(sorted(_TLS_FILES & query.keys()))}")
    tls = {"ssl_cert_reqs": "required"} | dict(query)
    tls["ssl_cert_reqs"] = tls["ssl_cert_reqs"].lower().removeprefix("cert_")
    if tls["ssl_cert_reqs"] not in {"required", "optional", "none"}:
        raise ValueError("must have ssl_cert_reqs=required, optional or none")
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower()
        if tls["ssl_check_hostname"] not in {"true", "false"}:
            raise ValueError("must have ssl_check_hostname=true or false")
    return tls
