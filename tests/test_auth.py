import sqlite3
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.auth import add_app, find_app, hash_key, renew_app, revoke_app
from app.database import App, Database
from app.errors import Forbidden, RequestError, Unauthenticated

PROTECTED = [
    ("POST", "/run_detect"),
    ("POST", "/delete_detect"),
    ("POST", "/detect_all"),
    ("GET", "/jobs"),
    ("GET", "/jobs/x"),
    ("GET", "/jobs/x/annotations"),
    ("POST", "/jobs/x/cancel"),
    ("POST", "/jobs/x/redeliver"),
    ("POST", "/jobs/x/retry"),
]


@pytest.fixture
def database(app: Flask) -> Database:
    return app.extensions["database"]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_every_route_but_models_asks_for_a_key(client: FlaskClient, method: str, path: str) -> None:
    missing, wrong = client.open(path, method=method), client.open(path, method=method, headers={"X-API-Key": "no"})
    assert (missing.status_code, wrong.status_code) == (400, 403)
    assert "X-API-Key" in missing.json["message"]
    assert "key" in wrong.json["message"]


def test_the_list_above_names_every_protected_route(app: Flask) -> None:
    open_routes = {"/models", "/healthz", "/readyz", "/metrics", "/static/<path:filename>"}
    rules = {rule.rule.replace("<job_id>", "x") for rule in app.url_map.iter_rules()} - open_routes
    assert rules == {path for _, path in PROTECTED}


def test_a_key_is_stored_hashed_and_opens(database: Database) -> None:
    key = add_app(database, "front")
    with database.session() as session:
        stored = session.scalars(select(App.app_key)).one()
    assert key not in stored
    assert len(stored) <= 80
    assert find_app(database, key).app_name == "front"


def test_a_stored_hash_is_not_a_key(database: Database) -> None:
    key = add_app(database, "front")
    with pytest.raises(Forbidden, match="digest"):
        find_app(database, hash_key(key))


def test_rows_of_the_original_manual_keep_working(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "keys.db") as connection:
        connection.executescript(
            """
            CREATE TABLE apps (
               id INTEGER PRIMARY KEY AUTOINCREMENT,
               app_name CHAR(50) NOT NULL,
               app_key CHAR(80) NOT NULL
            );
            INSERT INTO apps (app_name, app_key) VALUES ('front', 'q+plain=');
            """
        )
    connection.close()
    database = Database(f"sqlite:///{tmp_path}/keys.db")
    database.create_tables()
    assert find_app(database, "q+plain=").app_name == "front"
    assert find_app(database, add_app(database, "second")).app_name == "second"
    database.close()


def test_a_revoked_key_opens_nothing(database: Database) -> None:
    key = add_app(database, "front")
    revoke_app(database, "front")
    with pytest.raises(Forbidden):
        find_app(database, key)


def test_a_renewed_key_replaces_the_old_one_for_the_same_app(database: Database) -> None:
    old = add_app(database, "front")
    app_id = find_app(database, old).id
    assert find_app(database, renew_app(database, "front")).id == app_id
    with pytest.raises(Forbidden):
        find_app(database, old)


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_is_not_a_wrong_key(database: Database, key: str | None) -> None:
    with pytest.raises(Unauthenticated):
        find_app(database, key)


@pytest.mark.parametrize("name", ["", "  ", "x" * 51, "taken"])
def test_unusable_names_are_refused(database: Database, name: str) -> None:
    add_app(database, "taken")
    with pytest.raises(RequestError):
        add_app(database, name)


def test_commands_add_list_and_revoke(app: Flask) -> None:
    run = app.test_cli_runner().invoke
    key = run(args=["apps", "add", "front"]).output.strip()
    assert find_app(app.extensions["database"], key).app_name == "front"
    assert "front\thashed key" in run(args=["apps", "list"]).output
    assert run(args=["apps", "add", "front"]).exit_code == 1
    assert find_app(app.extensions["database"], run(args=["apps", "renew", "front"]).output.strip())
    assert run(args=["apps", "revoke", "front"]).exit_code == 0
    assert run(args=["apps", "renew", "front"]).exit_code == 1
    assert run(args=["apps", "revoke", "front"]).exit_code == 1
