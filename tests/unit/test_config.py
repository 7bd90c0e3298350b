import sys
from pathlib import Path

import pytest

from app.config import ROOT, Settings, main
from app.errors import SettingsError


def test_the_default_database_of_the_broker_is_0() -> None:
    assert Settings.load(celery_broker_url="redis://localhost:6379").broker_url == "redis://localhost:6379/0"


def test_the_default_database_of_the_broker_is_1_with_debug() -> None:
    settings = Settings.load(celery_broker_url="redis://:p%2Fw@localhost:6379", debug=True)
    assert settings.broker_url == "redis://:p%2Fw@localhost:6379/1"


def test_a_database_number_in_the_broker_url_is_kept() -> None:
    assert Settings.load(celery_broker_url="redis://localhost/3", debug=True).broker_url == "redis://localhost/3"


def test_variables_of_the_original_manual_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"API_PORT": "5001", "DEBUG": "True", "CLIENT_APP_URL": "https://a.example/", "DB_NAME": "keys"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.api_port, settings.debug, settings.client_app_url) == (5001, True, "https://a.example")
    assert settings.sqlalchemy_url == f"sqlite:///{ROOT}/keys.db"


@pytest.mark.parametrize(
    ("values", "size", "longest"), [({}, 640, 800), ({}, 1280, 1600), ({"image_size": 1000}, 1280, 1000)]
)
def test_images_are_requested_larger_than_the_input_of_the_network(
    values: dict[str, int], size: int, longest: int
) -> None:
    assert Settings.load(**values).choose_longest_image(size) == longest


@pytest.mark.parametrize(
    ("name", "value"),
    [("API_PORT", "many"), ("DB_NAME", "../x"), ("CELERY_BROKER_URL", "amqp://x"), ("CLIENT_APP_URL", "app.example")],
)
def test_the_error_names_a_malformed_setting_on_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_a_password_in_the_broker_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://:secret@localhost")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "secret" not in caught.value.message


def test_trusted_hosts_are_separated_by_spaces_or_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_HOSTS", "images.lan, 10.1.0.0/16")
    settings = Settings.load(client_app_url="http://10.0.0.7:8000")
    assert settings.trusted_addresses == {"images.lan", "10.1.0.0/16", "10.0.0.7:8000"}


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_the_host_may_be_an_address_of_ipv6(host: str) -> None:
    assert Settings.load(api_host=host).api_host == "::1"


def test_relative_folders_are_next_to_run_py() -> None:
    assert Settings.load(data_folder="elsewhere").data_folder == ROOT / "elsewhere"


def test_an_unknown_variable_in_the_file_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("OVERLAP_IOU=high\nAPI_PORT=5001\n")
    assert Settings(_env_file=file).api_port == 5001  # type: ignore[call-arg]


def test_the_command_prints_one_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["config", "api_port"])
    main()
    assert capsys.readouterr().out == "5000\n"


@pytest.mark.parametrize("arguments", [[], ["port"], ["model_config"]])
def test_the_command_needs_the_name_of_a_setting(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["config", *arguments])
    with pytest.raises(SystemExit, match="Name one setting, such as api_port: celery_broker_url, "):
        main()
