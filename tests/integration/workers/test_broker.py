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
    """A broker with a password, started as run.sh starts one."""
    url = f"redis://:p%2Fw@127.0.0.1:{find_free_port()}"
    settings = choose_settings(tmp_path, celery_broker_url=url)
    command = [sys.executable, "-m", "app.workers.broker", "serve"]
    with subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for_broker(settings.broker_url)
        yield settings
        process.terminate()


def test_a_broker_with_a_password_answers(locked: Settings) -> None:
    assert is_running(locked)


def test_its_password_is_for_this_user_only_and_its_data_is_kept(locked: Settings) -> None:
    config = locked.data_folder / "broker" / "broker.conf"
    assert oct(os.stat(config).st_mode & 0o777) == "0o600"
    with redis.Redis.from_url(locked.broker_url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_refused_password_is_said(locked: Settings, password: str) -> None:
    address = locked.celery_broker_url.rpartition("@")[2]
    other = locked.model_copy(update={"celery_broker_url": f"redis://{password}{address}"})
    with pytest.raises(SettingsError, match="password") as caught:
        is_running(other)
    assert "wrong" not in caught.value.message


def test_nothing_listens_on_this_machine() -> None:
    assert not is_running(Settings.load(celery_broker_url=f"redis://127.0.0.1:{find_free_port()}"))
