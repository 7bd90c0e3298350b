import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.config import ROOT, Settings
from app.demo.service import build_environment, choose_settings, find_free_port
from app.errors import SettingsError
from app.workers.broker import is_running
from tests.conftest import wait_for_broker


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Settings]:
    """A broker with a password, started with the command of run.sh."""
    url = f"redis://:p%2Fw@127.0.0.1:{find_free_port()}"
    settings = choose_settings(tmp_path, celery_broker_url=url)
    command = [sys.executable, "-m", "app.workers.broker", "serve"]
    with subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for_broker(settings.broker_url)
        yield settings
        process.terminate()


def test_a_broker_with_a_password_answers(locked: Settings) -> None:
    assert is_running(locked)


def test_only_this_user_reads_the_password_and_the_data_is_persistent(locked: Settings) -> None:
    config = locked.data_folder / "broker" / "broker.conf"
    assert oct(os.stat(config).st_mode & 0o777) == "0o600"
    with redis.Redis.from_url(locked.broker_url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_wrong_password_is_reported_without_its_value(locked: Settings, password: str) -> None:
    address = locked.celery_broker_url.rpartition("@")[2]
    other = locked.model_copy(update={"celery_broker_url": f"redis://{password}{address}"})
    with pytest.raises(SettingsError, match="password") as caught:
        is_running(other)
    assert "wrong" not in caught.value.message


def test_no_broker_on_this_machine_is_reported_as_absent() -> None:
    assert not is_running(Settings.load(celery_broker_url=f"redis://127.0.0.1:{find_free_port()}"))
