import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug import Request, Response

from app.errors import AddressRefused
from app.net.addresses import AddressGuard
from app.net.transport import GuardedAdapter
from tests.conftest import serve_on_loopback
from tests.support.library import Answer, Library


class Names:
    """Fake name resolution: the successive answers for each name, and the names that were looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        if host not in self.answers:
            return self._real(host, port, *args, **options)
        self.asked.append(host)
        found = self.answers[host].pop(0)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in address], socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def get(url: str, *trusted: str, verify: str | bool = True) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, GuardedAdapter(AddressGuard(frozenset(trusted))))
        return session.get(url, timeout=5, verify=verify)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",  # noqa: S104 (looked up, not listened on)
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "fec0::1",
        "2002:7f00:1::",
    ],
)
def test_a_private_address_is_refused_with_the_setting_to_change(names: Names, address: str) -> None:
    names.answers["inside.example"] = [[address]]
    with pytest.raises(AddressRefused, match=r"add inside.example:8080 to TRUSTED_HOSTS"):
        AddressGuard().resolve("inside.example", 8080)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f::1", "64:ff9b::93.184.215.14", "::ffff:8.8.8.8"])
def test_a_public_address_is_accepted(names: Names, address: str) -> None:
    names.answers["outside.example"] = [[address]]
    assert AddressGuard().resolve("outside.example", 443) == [address]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0"])
def test_a_private_address_in_another_notation_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        AddressGuard().resolve(host, 80)


def test_a_name_with_one_private_address_among_public_ones_is_refused(names: Names) -> None:
    names.answers["both.example"] = [["93.184.215.14", "10.0.0.1"]]
    with pytest.raises(AddressRefused):
        AddressGuard().resolve("both.example", 80)


@pytest.mark.parametrize(
    "entry", ["inside.example", "Inside.Example", "inside.example:8080", "10.1.2.3", "10.1.0.0/16"]
)
def test_a_trusted_host_may_be_private(names: Names, entry: str) -> None:
    names.answers["INSIDE.example"] = [["10.1.2.3"]]
    assert AddressGuard(frozenset({entry})).resolve("INSIDE.example", 8080) == ["10.1.2.3"]


@pytest.mark.parametrize("entry", ["inside.example:80", "example", "10.1.2.4", "10.2.0.0/16", "::1", "nonsense/99"])
def test_trust_in_one_host_is_not_trust_in_another(names: Names, entry: str) -> None:
    names.answers["inside.example"] = [["10.1.2.3"]]
    with pytest.raises(AddressRefused):
        AddressGuard(frozenset({entry})).resolve("inside.example", 8080)


def test_a_refused_address_receives_no_connection(library: Library) -> None:
    with pytest.raises(AddressRefused):
        get(f"{library.url}/refused")
    assert "/refused" not in library.paths  # a job of an earlier test may still send requests


def test_a_name_is_resolved_once_and_a_second_answer_changes_nothing(names: Names, library: Library) -> None:
    url = library.answer("/x", Answer(body="found")).replace("127.0.0.1", "library.example")
    names.answers["library.example"] = [["127.0.0.1"], ["10.9.9.9"]]
    response = get(url, "127.0.0.0/8")
    assert response.text == "found"
    assert names.asked == ["library.example"]
    assert library.asked[0].headers["Host"].startswith("library.example:")


def test_the_next_address_is_tried_when_the_first_does_not_answer(names: Names, library: Library) -> None:
    url = library.answer("/x", Answer(body="found")).replace("127.0.0.1", "library.example")
    names.answers["library.example"] = [["::1", "127.0.0.1"]]
    assert get(url, "library.example").text == "found"


def test_a_name_without_an_address_is_a_connection_error(names: Names) -> None:
    with pytest.raises(requests.ConnectionError, match=r"resolve 'nowhere.invalid'"):
        get("http://nowhere.invalid/x")


def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(
    names: Names, tls_url: str, certificate: Path
) -> None:
    names.answers |= {"library.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}
    assert get(tls_url, "127.0.0.1", verify=str(certificate)).text == "found"
    with pytest.raises(requests.exceptions.SSLError, match=r"other\.example"):
        get(tls_url.replace("library.example", "other.example"), "127.0.0.1", verify=str(certificate))


def test_the_tls_handshake_and_the_host_header_have_the_name(names: Names, certificate: Path) -> None:
    names.answers["library.example"] = [["127.0.0.1"]]
    server_names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    context.sni_callback = lambda sock, name, _: server_names.append(name)

    @Request.application
    def answer(request: Request) -> Response:
        return Response(request.host)

    with serve_on_loopback(answer, ssl_context=context) as port:
        response = get(f"https://library.example:{port}/x", "127.0.0.1", verify=str(certificate))
    assert (server_names, response.text) == (["library.example"], f"library.example:{port}")


def test_tls_connections_are_guarded_too(names: Names, tls_url: str, certificate: Path) -> None:
    names.answers["library.example"] = [["127.0.0.1"]]
    with pytest.raises(AddressRefused):
        get(tls_url, verify=str(certificate))
