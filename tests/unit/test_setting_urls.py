"""URLs in the settings: all libraries read the same broker, and a malformed URL is refused without being shown."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from redis.connection import SSLConnection, parse_url

from app.config import ROOT, Settings
from app.errors import SettingsError

AUTHORITY = ROOT / "LICENSE"  # any file that exists
BROKER, DATABASE, CLIENT = "celery_broker_url", "database_url", "client_app_url"
# Characters that end the user information of a URL, or must not occur in a URL:
# https://www.rfc-editor.org/rfc/rfc3986#section-2.2
SPECIAL = ["#", "/", "?", "[", "]", "@", "%", " ", "\u00e9", "\n", "\t", "\x00"]


def read_with_kombu(url: str) -> dict[str, Any]:
    """Return what Celery's transport passes to redis-py."""
    connection = Connection(url)
    tls = connection.ssl or {}
    return {
        "host": connection.hostname,
        "port": connection.port,
        "username": connection.userid,
        "password": connection.password,
        "db": int(connection.virtual_host),
        "verified": tls.get("ssl_cert_reqs", ssl.CERT_REQUIRED if not tls else None),
        "authority": tls.get("ssl_ca_certs"),
        "name checked": tls.get("ssl_check_hostname", True),
        "tls": bool(tls),
    }


def read_with_redis(url: str) -> dict[str, Any]:
    """Return what redis-py, and with it the rate limits, read in a URL."""
    found = parse_url(url)
    verified = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    return {
        "host": found["host"],
        "port": found.get("port"),
        "username": found.get("username"),
        "password": found.get("password"),
        "db": found["db"],
        "verified": verified[found.get("ssl_cert_reqs", "required")],
        "authority": found.get("ssl_ca_certs"),
        "name checked": found.get("ssl_check_hostname", True),
        "tls": found.get("connection_class") is SSLConnection,
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", {"host": "localhost", "port": None, "db": 0, "tls": False}),
        ("redis://localhost:6380/", {"port": 6380, "db": 0}),
        ("redis://localhost/3/", {"db": 3}),
        ("redis://localhost?db=3", {"db": 3}),
        ("redis://localhost/3?db=3", {"db": 3}),
        ("redis://[::1]:6379/0", {"host": "::1", "port": 6379}),
        ("REDIS://Redis_1.lan", {"tls": False}),
        ("redis://:a:b+c=d!@localhost", {"username": None, "password": "a:b+c=d!"}),
        ("redis://extractor:%23%2F%3F%5B%40%25%20%C3%A9%22@localhost", {"password": '#/?[@% \u00e9"'}),
        ("redis://extractor:x@localhost", {"username": "extractor", "password": "x"}),
        ("redis://:'\"$`\\@localhost", {"password": "'\"$`\\"}),
        ("rediss://localhost", {"tls": True, "verified": ssl.CERT_REQUIRED}),
        ("rediss://localhost?ssl_cert_reqs=CERT_NONE", {"tls": True, "verified": ssl.CERT_NONE}),
        ("rediss://localhost?ssl_cert_reqs=none", {"verified": ssl.CERT_NONE}),
        (f"rediss://localhost/2?ssl_ca_certs={AUTHORITY}", {"db": 2, "authority": str(AUTHORITY)}),
        ("rediss://localhost?ssl_check_hostname=False", {"name checked": False}),
    ],
)
def test_all_libraries_read_the_same_broker(url: str, expected: dict[str, Any]) -> None:
    canonical = Settings.load(celery_broker_url=url).broker_url
    read = read_with_redis(canonical)
    assert read_with_kombu(canonical) == read
    assert {name: read[name] for name in expected} == expected


@pytest.mark.parametrize("name", [BROKER, DATABASE, CLIENT])
@pytest.mark.parametrize("character", SPECIAL)
@pytest.mark.parametrize("password", ["q7zx{}k9yw", "12{}k9yw", "{}k9yw", "q7zx{}"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(name: str, character: str, password: str) -> None:
    """Celery connects to another host or ends with a traceback: https://github.com/celery/celery/issues/1553"""
    scheme = {BROKER: "redis", DATABASE: "postgresql+psycopg", CLIENT: "https"}[name]
    url = f"{scheme}://user:{password.format(character)}@host.example:6379/0"
    with pytest.raises(SettingsError) as caught:
        Settings.load(**{name: url})
    message = caught.value.message
    assert name.upper() in message
    assert "password" in message
    assert not any(part in message for part in ("q7zx", "k9yw", "host.example"))
    assert caught.value.__cause__ is caught.value.__context__ is None, "a traceback would show the cause"


@pytest.mark.parametrize(
    "url",
    [
        "redis+socket:///run/redis.sock",
        "unix:///run/redis.sock",
        "sentinel://a:26379;sentinel://b:26379",
        "redis://a;redis://b",
        "redis://a,b",
        "redis://",
        "redis:///0",
        "redis://host:0",
        "redis://host:65536",
        "redis://host/name",
        "redis://host/0/name",
        "redis://host/-1",
        "redis://host/1?db=2",
        "redis://host?virtual_host=1",
        "redis://host?password=secret",
        "redis://host?ssl_cert_reqs=none",
        "rediss://host?ssl_cert_reqs=some",
        "rediss://host?ssl_check_hostname=perhaps",
        "rediss://host?ssl_ca_certs=/nowhere/ca.pem",
        "redis://:%FF@host",
    ],
)
def test_a_broker_that_libraries_read_differently_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="CELERY_BROKER_URL: m") as caught:
        Settings.load(celery_broker_url=url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/a folder/\u00e9#%.db",
        "postgresql+psycopg://extractor:p%40w@10.0.0.1/extractor",
        "postgresql://extractor@/extractor?host=/run/postgresql",
    ],
)
def test_a_database_is_a_file_or_postgresql(url: str) -> None:
    assert Settings.load(database_url=url).sqlalchemy_url == url


@pytest.mark.parametrize("url", ["postgres://host/x", "mysql://host/x", "sqlite://", "sqlite:///", "x.db"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        Settings.load(database_url=url)


@pytest.mark.parametrize("name", ["comet_api_key", "metrics_token"])
@pytest.mark.parametrize("value", ["q7zx k9yw", "q7zx\u00e9", "q7zx\n"])
def test_a_token_that_no_header_can_contain_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.upper()) as caught:
        Settings.load(**{name: value})
    assert "q7zx" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'DEBUG=False\nCELERY_BROKER_URL="redis://:q7zx"k9yw@localhost"\n', "line 2: CELERY_BROKER_URL has no value"),
        (b"CELERY_BROKER_URL=redis://:q7zx\xe9k9yw@localhost\n", "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    with pytest.raises(SettingsError, match=message) as caught:
        Settings.load()
    assert not any(part in caught.value.message for part in ("q7zx", "k9yw"))


def test_a_line_that_is_no_setting_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text('NOTE="a" b\nAPI_PORT=5001\n')
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    assert Settings.load().api_port == 5001
