import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from werkzeug.wrappers import Response

from app.config import ROOT, Settings
from app.demo.service import build_environment, choose_settings, find_free_port
from app.errors import SettingsError
from app.workers.broker import is_running
from app.workers.broker_rights import SUFFICIENT, describe_eviction
from tests.conftest import serve_on_loopback
from tests.support.broker import run_broker


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Settings]:
    """A broker with a password."""
    settings = choose_settings(tmp_path, celery_broker_url=f"redis://:p%2Fw@127.0.0.1:{find_free_port()}")
    with run_broker(settings):
        yield settings


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


@pytest.mark.parametrize(
    ("user", "password", "host"),
    [("", "p\"w'\\ $x#`\u00e9\n%", "localhost"), ('ext"r', 'p"w\\', "127.0.0.1"), ("default", "x", "localhost")],
)
def test_a_broker_that_is_started_has_the_login_of_the_url(tmp_path: Path, user: str, password: str, host: str) -> None:
    place = f"{host}:{find_free_port()}/20"
    url = f"redis://{quote(user)}:{quote(password)}@{place}"
    settings = choose_settings(tmp_path / "a \"b'", celery_broker_url=url)
    with run_broker(settings):
        assert is_running(settings)
        with pytest.raises(SettingsError, match="password"):
            is_running(settings.model_copy(update={"celery_broker_url": f"redis://{quote(user)}:wrong@{place}"}))


@pytest.fixture
def admin(broker_url: str) -> Iterator[redis.Redis]:
    """A connection that may change users of the broker. The user ``extractor`` is removed afterwards."""
    with redis.Redis.from_url(broker_url) as client:
        yield client
        client.acl_deluser("extractor")


def act_as_extractor(settings: Settings) -> Settings:
    address = settings.celery_broker_url.rpartition("/")[0].removeprefix("redis://")
    return settings.model_copy(update={"celery_broker_url": f"redis://extractor:x@{address}/3"})


def test_the_rights_of_the_manual_are_sufficient(admin: redis.Redis, settings: Settings) -> None:
    admin.execute_command("ACL SETUSER extractor on >x", *SUFFICIENT.split())
    assert is_running(act_as_extractor(settings))
    assert SUFFICIENT in (ROOT / "docs" / "install.md").read_text().replace("'", "")


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ("~* +@all", "PUBLISH /3.celery.probe"),
        ("~* &/3.celery.probe +@all", "PSUBSCRIBE /3.celery.pidbox"),
        ("~* &* +@all -@scripting", "SCRIPT LOAD"),
        ("~extractor:* &* +@all", "HDEL io"),
        ("%R~* &* +@all", "SET extractor:probe:string"),
        ("~* &* +@all -brpop", "BRPOP extractor:probe:list"),
        ("~* &* +@all -multi", "MULTI"),
        ("~* &* +@all -time", "TIME"),
    ],
)
def test_a_right_that_is_missing_is_named(admin: redis.Redis, settings: Settings, rules: str, missing: str) -> None:
    admin.execute_command("ACL SETUSER extractor on >x", *rules.split())
    with pytest.raises(SettingsError) as caught:
        is_running(act_as_extractor(settings))
    assert f"may not run {missing}: allow it in Redis with ACL SETUSER" in caught.value.message


def test_a_worker_without_a_right_ends_with_a_sentence(admin: redis.Redis, settings: Settings) -> None:
    admin.execute_command("ACL SETUSER extractor on >x ~* +@all")
    environment = build_environment(act_as_extractor(settings))
    command = [sys.executable, "-m", "app.workers", "post"]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "may not run PUBLISH" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_a_replica_is_reported(locked: Settings) -> None:
    """An attacker turns an open Redis into a replica: https://github.com/inventree/InvenTree/issues/3292"""
    with redis.Redis.from_url(locked.broker_url) as client:
        client.replicaof("127.0.0.1", find_free_port())
    with pytest.raises(SettingsError, match="read-only replica"):
        is_running(locked)


def test_a_broker_that_removes_messages_is_reported(locked: Settings) -> None:
    with redis.Redis.from_url(locked.broker_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert not describe_eviction(client), "the memory has no limit"
        client.config_set("maxmemory", "100mb")
        assert "allkeys-lru" in describe_eviction(client)


def test_a_database_that_the_broker_does_not_have_is_reported(locked: Settings) -> None:
    url = locked.broker_url.rpartition("/")[0]
    with pytest.raises(SettingsError, match="out of range"):
        is_running(locked.model_copy(update={"celery_broker_url": f"{url}/99"}))


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_another_program_at_the_port_is_not_taken_for_absent(scheme: str) -> None:
    with serve_on_loopback(Response("not Redis")) as port, pytest.raises(SettingsError, match="does not answer"):
        is_running(Settings.load(celery_broker_url=f"{scheme}://127.0.0.1:{port}"))
