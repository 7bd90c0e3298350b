"""Commands of the manual that need neither root nor a running service, run as they are written."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from app.auth import add_app, find_app, renew_secret
from app.config import ROOT, Settings
from app.database.sessions import Database
from app.database.tables import Secret
from app.demo.service import build_environment
from app.errors import Forbidden
from tests.service.test_manual import create_key_database
from tests.support import postgresql as programs
from tests.support.manual import find_block, read_page, split_commands
from tests.support.postgresql import Server

INSTALL = read_page("docs/install.md")
OPERATIONS = read_page("docs/operations.md")
RESULT = "data/jobs/0b1d5e/annotations.txt"
CACHED = "data/images/0a/1.image"


def run(script: str, folder: Path, **environment: str) -> str:
    """Run a code block of the manual in a folder, as a shell does that stops at the first error."""
    bash = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(bash, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def find_sqlite() -> str:
    found = shutil.which("sqlite3")
    if found is None:
        pytest.skip("needs the sqlite3 command")
    return found


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """An installation without its code: settings, weights, a result, a cached image."""
    folder = tmp_path / "api"
    for name in (".env", "iiif/hosts.toml", "models/own.pt", RESULT, CACHED, "data/logs/api.log"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture
def database(installation: Path) -> Iterator[Database]:
    find_sqlite()
    database = Database(f"sqlite:///{installation / 'extractor.db'}")
    database.upgrade()
    yield database
    database.close()


def place_backup(script: str, installation: Path) -> str:
    return script.replace("/srv/extractor/backup", str(installation.parent / "backup"))


def test_what_is_backed_up_while_the_service_runs_is_restored(installation: Path, database: Database) -> None:
    key = add_app(database, "front")  # still in the -wal file: this process holds the database open
    backup = place_backup(find_block(OPERATIONS, ".backup"), installation)
    found = run(f"{backup}\n{find_block(OPERATIONS, 'PRAGMA integrity_check')}\necho $BACKUP", installation)
    *checks, place = found.split()
    assert checks == ["ok", "0", "complete"]
    database.close()
    late = add_app(database, "late")
    (installation / RESULT).unlink()
    shutil.rmtree(installation / "data" / "images")
    (installation / "models" / "own.pt").write_text("another")
    run(find_block(OPERATIONS, "extractor.db-wal extractor.db-shm"), installation, BACKUP=place)
    assert find_app(database, key).app_name == "front"
    with pytest.raises(Forbidden):
        find_app(database, late)
    assert (installation / RESULT).read_text() == RESULT
    assert (installation / "models" / "own.pt").read_text() == "models/own.pt"
    assert not (installation / CACHED).exists(), "a cache is in the back-up"


def test_a_data_folder_elsewhere_returns_to_its_place(installation: Path, database: Database) -> None:
    elsewhere = installation.parent / "elsewhere"
    (installation / "data").rename(elsewhere)
    backup = place_backup(find_block(OPERATIONS, ".backup"), installation)
    backup = backup.replace("--exclude=data/", f"--exclude={elsewhere}/").replace("models data", f"models {elsewhere}")
    *_, place = run(f"{backup}\necho $BACKUP", installation).split()
    database.close()
    shutil.rmtree(elsewhere)
    run(find_block(OPERATIONS, "extractor.db-wal extractor.db-shm"), installation, BACKUP=place)
    assert (elsewhere / Path(RESULT).relative_to("data")).read_text() == RESULT
    assert not (elsewhere / Path(CACHED).relative_to("data")).exists(), "a cache is in the back-up"


def prepare_server_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the commands of the server's own version first on the path."""
    found = importlib.util.find_spec(programs.WHEEL)
    assert found
    assert found.origin
    folder = Path(found.origin).parent.parent / programs.PROGRAMS
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_dump_of_postgresql_is_restored(postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_server_commands(monkeypatch)
    url = postgresql.create_database()
    shown, plain = "postgresql://user:password@host/name", url.replace("+psycopg", "")
    database = Database(url)
    database.upgrade()
    key = add_app(database, "front")
    run(find_block(OPERATIONS, "pg_dump").replace(shown, plain), tmp_path, BACKUP=str(tmp_path))
    late = add_app(database, "late")
    run(find_block(OPERATIONS, "pg_restore").replace(shown, plain), tmp_path, BACKUP=str(tmp_path))
    database.close()
    database.upgrade()
    assert find_app(database, key).app_name.strip() == "front"
    with pytest.raises(Forbidden):
        find_app(database, late)
    database.close()


def test_keys_are_moved_from_sqlite_to_postgresql(
    postgresql: Server, installation: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_server_commands(monkeypatch)
    keys = {name: add_app(database, name) for name in ("front", 'with "quotes", commas')}
    secret = renew_secret(database, "front")
    server = Database(postgresql.create_database())
    server.upgrade()
    url = server.engine.url.render_as_string().replace("+psycopg", "")
    block = find_block(read_page("docs/scaling.md"), "copy apps")
    assert "postgresql://extractor:<password>@10.0.0.1/extractor" in block
    run(block.replace("postgresql://extractor:<password>@10.0.0.1/extractor", url), installation)
    apps = {name: find_app(server, key) for name, key in keys.items()}
    assert {name: app.app_name.strip() for name, app in apps.items()} == {name: name for name in keys}
    with server.session() as session:
        assert session.get_one(Secret, apps["front"].id).secret == secret
    assert find_app(server, add_app(server, "next")).id > max(app.id for app in apps.values())
    server.close()


def run_without_root(block: str, folder: Path, places: dict[str, str]) -> str:
    """Run a block of docs/install.md on copies of the files that it changes, without ``sudo`` and ``systemctl``."""
    lines = [line for line in block.splitlines() if "systemctl" not in line]
    script = "\n".join(lines).replace("sudo -u extractor ", "").replace("sudo ", "")
    for shown, real in places.items():
        assert shown in script
        script = script.replace(shown, real)
    return run(script, folder)


def test_redis_gets_a_password_and_an_append_only_file(tmp_path: Path) -> None:
    config = tmp_path / "redis.conf"
    config.write_text("port 6379\n# requirepass foobared\nappendonly no\n")
    said = run_without_root(find_block(INSTALL, "REDIS_CONF"), tmp_path, {"/etc/redis/redis.conf": str(config)})
    password = said.partition("redis://:")[2].partition("@")[0]
    assert config.read_text() == f"port 6379\nrequirepass {password}\nappendonly yes\n"
    assert Settings(celery_broker_url=said.strip().partition("=")[2].strip('"')).broker_url.endswith(":6379/0")


def test_the_proxy_is_written_to_the_settings(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.template", tmp_path / ".env")
    (line,) = [line for line in find_block(INSTALL, "PROXIES").splitlines() if "PROXIES" in line]
    run_without_root(line, tmp_path, {"/srv/extractor/api": str(tmp_path)})
    assert Settings(_env_file=tmp_path / ".env").proxies == 1  # type: ignore[call-arg]


def test_the_commands_for_keys_run_in_their_order(app: Flask, settings: Settings) -> None:
    activate, first, *others = split_commands(find_block(INSTALL, "apps add my-front-end"))
    assert activate == ["source", "venv/bin/activate"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = run(shlex.join(first), ROOT, **(build_environment(settings) | {"PATH": path})).splitlines()
    for command in others:  # in this process, because starting one takes more than a second
        assert command[:3] == first[:3] == ["flask", "--app", "app.app"]
        result = app.test_cli_runner().invoke(args=command[3:])
        assert result.exit_code == 0, result.output
        said += result.stdout.splitlines()
    key, listed, renewed, secret, hashed, revoked = said
    assert len({key, renewed}) == 2
    assert secret.startswith("whsec_")
    assert listed.split("\t")[1:] == ["my-front-end", "hashed key"]
    assert hashed == "All keys are already hashed."
    assert revoked == "Client app my-front-end is revoked."


def test_the_settings_and_keys_of_the_original_are_taken_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    (old / ".env").write_text('CELERY_BROKER_URL="redis://localhost:6379"\nDEBUG=True # False\nDB_NAME="keys"\n')
    create_key_database(old / "keys.db")
    block = find_block(read_page("docs/migrating.md"), "OLD=").replace("/srv/extractor/original", str(old))
    run(block, new)
    assert (new / ".env").stat().st_mode & 0o777 == 0o600
    with closing(Database(f"sqlite:///{new / 'keys.db'}")) as database:
        database.upgrade()
        assert find_app(database, "p8xk3uVtY2gq0c1h").app_name.strip() == "front"
