"""Servers whose certificates an institution's own authority signed, and the setting that names this authority."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug import Request, Response

from app.config import Settings
from app.errors import BackboneError, FetchError, SettingsError
from app.iiif.fetch import Fetcher
from app.iiif.hosts import HostRule
from app.net.addresses import AddressGuard
from app.net.transport import GuardedSession
from app.services import Services
from app.similarity.backbone_weights import fetch_weights, find_weights
from app.similarity.backbones import BACKBONES
from app.similarity.embedder import EmbedderConfig, load_embedder
from app.training.comet import CometClient, CometUnreachable
from tests.conftest import serve_on_loopback
from tests.support.certificates import Authority
from tests.support.fetching import POLICY, build_limits
from tests.support.recording_queue import RecordingQueue

CONTENT = b"{}"
TRUSTED = AddressGuard(frozenset({"localhost", "127.0.0.1"}))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def url(authority: Authority) -> Iterator[str]:
    """A server of the institution."""

    @Request.application
    def answer(request: Request) -> Response:
        return Response(CONTENT)

    with serve_on_loopback(
        answer, ssl_context=(str(authority.server), str(authority.server.with_suffix(".key")))
    ) as port:
        yield f"https://localhost:{port}"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nowhere/ca.pem")


def fetch(url: str, ca_bundle: Path | None) -> bytes:
    policy = replace(POLICY, attempts=1)
    return Fetcher(policy, build_limits(HostRule(4, 0)), TRUSTED, ca_bundle=ca_bundle).fetch_document(url)


@pytest.mark.parametrize("which", ["root", "issuer", "server"])
def test_a_library_of_the_institution_is_fetched_from(authority: Authority, url: str, which: str) -> None:
    assert fetch(url, getattr(authority, which)) == CONTENT


def test_without_the_setting_the_error_names_it(url: str) -> None:
    with pytest.raises(
        FetchError, match=r"has no valid TLS certificate \(.*\); .* CA_BUNDLE must name its authority\."
    ):
        fetch(url, None)


def test_the_certificate_must_be_for_the_host(authority: Authority, url: str) -> None:
    with pytest.raises(FetchError, match=r"no valid TLS certificate \(IP address mismatch"):
        fetch(url.replace("localhost", "127.0.0.1"), authority.root)


def test_the_public_authorities_stay_trusted(authority: Authority, url: str) -> None:
    with GuardedSession(TRUSTED, authority.root) as session:
        assert session.get(url).content == CONTENT
        context = session.transport.poolmanager.connection_pool_kw["ssl_context"]
    assert len(context.get_ca_certs()) > 50


def test_weights_are_downloaded_from_a_server_of_the_institution(
    authority: Authority, url: str, tmp_path: Path
) -> None:
    checksum = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()[:8]}"
    backbone = replace(BACKBONES["resnet34"], url=f"{url}/x.pth", checksum=checksum)
    with pytest.raises(BackboneError, match=r"no valid TLS certificate .* CA_BUNDLE"):
        fetch_weights(backbone, tmp_path)
    assert fetch_weights(backbone, tmp_path, authority.root).read_bytes() == CONTENT
    with pytest.raises(BackboneError, match="cannot be loaded"):
        load_embedder(backbone, tmp_path / "removed", EmbedderConfig(device="cpu"), ca_bundle=authority.root)
    assert find_weights(backbone, tmp_path / "removed").read_bytes() == CONTENT


def test_comet_may_use_a_certificate_of_the_institution(
    authority: Authority, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.comet.HOME", url)
    CometClient("key", "", authority.root).write("metric", "experiment", {})
    with pytest.raises(CometUnreachable):
        CometClient("key", "").write("metric", "experiment", {})


def test_the_setting_is_checked_at_the_start(authority: Authority, tmp_path: Path) -> None:
    assert Settings.load(ca_bundle=authority.root).ca_bundle == authority.root
    assert Settings.load().ca_bundle is None
    for name, content in {
        "empty": b"",
        "text": b"hello",
        "damaged": authority.root.read_bytes().replace(b"M", b"@"),
    }.items():
        (tmp_path / name).write_bytes(content)
    faults = {
        tmp_path / "missing": "missing cannot be read (No such file or directory)",
        tmp_path: "cannot be read (Is a directory)",
        authority.root.with_suffix(".key"): "root.key has a private key and no certificate",
        **{tmp_path / name: f"{name} has no valid certificate" for name in ("empty", "text", "damaged")},
    }
    for path, fault in faults.items():
        with pytest.raises(SettingsError) as caught:
            Settings.load(ca_bundle=path)
        assert "CA_BUNDLE: /" in caught.value.message
        assert fault in caught.value.message


def test_fetches_and_deliveries_use_the_setting(settings: Settings, authority: Authority, url: str) -> None:
    chosen = settings.model_copy(update={"ca_bundle": authority.root, "trusted_hosts": ("localhost",)})
    services = Services(chosen, RecordingQueue())
    try:
        assert services.fetcher.fetch_document(url) == CONTENT
        assert services.dispatcher._ca_bundle == authority.root
    finally:
        services.database.close()
