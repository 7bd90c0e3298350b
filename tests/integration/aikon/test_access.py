"""Which requests of fronts are let in without a key."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.auth import revoke_app
from app.config import Settings
from app.errors import SettingsError
from app.services import Services
from tests.integration.aikon.conftest import FRONT


def ask(client: FlaskClient, address: str, path: str = "/regions/models", **headers: str) -> Any:
    return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize("address", [FRONT, "::ffff:10.1.2.3", "2001:db8::1"])
def test_a_front_in_a_named_network_needs_no_key(client: FlaskClient, address: str) -> None:
    assert ask(client, address).status_code == 200


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize("address", ["10.2.0.1", "192.0.2.1", "127.0.0.1", "::1", "2001:db9::1", "", "unix:"])
def test_a_request_from_another_network_is_refused(client: FlaskClient, address: str) -> None:
    answer = ask(client, address)
    assert answer.status_code == 403
    assert answer.json["message"] == answer.json["error"]
    assert (answer.json["message"].count(". "), answer.json["code"]) == (0, "wrong_network")


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize("path", ["/models", "/jobs", "/run_similarity", "/healthz"])
def test_the_network_opens_no_other_route(client: FlaskClient, path: str) -> None:
    open_to_all = ask(client, "192.0.2.1", path).status_code
    assert ask(client, FRONT, path).status_code == open_to_all


def test_a_key_is_valid_from_any_network(client: FlaskClient, headers: dict[str, str]) -> None:
    assert ask(client, "192.0.2.1", **headers).status_code == 200
    assert ask(client, FRONT, **{"X-API-Key": "wrong"}).status_code == 403


@pytest.mark.usefixtures("headers")
def test_a_request_that_a_web_page_caused_is_refused(client: FlaskClient) -> None:
    assert ask(client, FRONT, Origin="https://evil.example").status_code == 403


def test_without_its_client_app_a_front_is_refused(
    client: FlaskClient, services: Services, headers: dict[str, str]
) -> None:
    revoke_app(services.database, "front")
    answer = ask(client, FRONT)
    assert (answer.status_code, "AIKON_APP" in answer.json["message"]) == (403, True)


class TestBehindProxies:
    @pytest.fixture
    def settings(self, settings: Settings, request: pytest.FixtureRequest) -> Settings:
        return settings.model_copy(update={"proxies": request.param})

    @pytest.mark.usefixtures("headers")
    @pytest.mark.parametrize(
        ("settings", "peer", "forwarded", "status"),
        [
            (1, "127.0.0.1", FRONT, 200),
            (1, "127.0.0.1", f"192.0.2.1, {FRONT}", 200),
            (1, "127.0.0.1", f"{FRONT}, 192.0.2.1", 403),
            (2, "127.0.0.1", f"{FRONT}, 192.0.2.1", 200),
            (2, FRONT, "192.0.2.1", 403),  # it passed one proxy, so that its address is that of a proxy
            (0, FRONT, "192.0.2.1", 403),
            (0, FRONT, FRONT, 403),
        ],
        indirect=["settings"],
    )
    def test_a_forged_address_does_not_let_in(
        self, client: FlaskClient, peer: str, forwarded: str, status: int
    ) -> None:
        assert ask(client, peer, **{"X-Forwarded-For": forwarded}).status_code == status

    @pytest.mark.usefixtures("headers")
    @pytest.mark.parametrize("settings", [0, 1], indirect=True)
    def test_the_header_forwarded_is_not_trusted(self, client: FlaskClient) -> None:
        assert ask(client, FRONT, Forwarded=f"for={FRONT}").status_code == 403


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "front.example", "0.0.0.0/0", "::/0", "10.0.0.0/33"])
def test_a_network_that_is_malformed_or_everyone_is_refused(networks: str) -> None:
    with pytest.raises(SettingsError, match="AIKON_NETWORKS"):
        Settings.load(aikon_networks=networks)


def test_without_networks_a_front_needs_a_key(get: Callable[[str], Any], services: Services) -> None:
    services.settings = services.settings.model_copy(update={"aikon_networks": ()})
    assert get("/regions/models").status_code == 400
