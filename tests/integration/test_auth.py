import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from app.auth import add_app, find_app, hash_key, hash_plain_keys, renew_app, renew_secret, revoke_app
from app.database.sessions import Database
from app.database.tables import ClientApp, Secret
from app.errors import Forbidden, LeaseLost, ManifestError, RequestError, Unauthenticated
from app.jobs import State
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD
from app.services import Services
from tests.support.rows import change_job


@pytest.fixture
def database(app: Flask) -> Database:
    return app.extensions["services"].database


def test_a_key_is_stored_hashed_and_is_valid(database: Database) -> None:
    key = add_app(database, "front")
    with database.session() as session:
        stored = session.scalars(select(ClientApp.app_key)).one()
    assert key not in stored
    assert len(stored) <= 80
    assert find_app(database, key).app_name == "front"


def test_a_stored_hash_is_not_a_key(database: Database) -> None:
    key = add_app(database, "front")
    with pytest.raises(Forbidden, match="digest"):
        find_app(database, hash_key(key))


@pytest.fixture
def manual(tmp_path: Path) -> Iterator[Database]:
    """The table of the original manual, with keys inserted by hand: some with spaces, two with the same name."""
    with sqlite3.connect(tmp_path / "keys.db") as connection:
        connection.executescript(
            """
            CREATE TABLE apps (
               id INTEGER PRIMARY KEY AUTOINCREMENT,
               app_name CHAR(50) NOT NULL,
               app_key CHAR(80) NOT NULL
            );
            INSERT INTO apps (app_name, app_key)
            VALUES ('front', 'q+plain='), ('back ', ' spaces  '), ('twin', 'one'), ('twin', 'two'), ('none', '  ');
            """
        )
    connection.close()
    database = Database(f"sqlite:///{tmp_path}/keys.db")
    database.upgrade()
    yield database
    database.close()


def read_keys(database: Database) -> list[str]:
    with database.session() as session:
        return list(session.scalars(select(ClientApp.app_key).order_by(ClientApp.id)))


def test_keys_inserted_by_hand_are_valid(manual: Database) -> None:
    assert find_app(manual, "q+plain=").app_name == "front"
    assert find_app(manual, "spaces").app_name.strip() == "back"
    assert find_app(manual, add_app(manual, "second")).app_name == "second"


def test_plain_keys_are_hashed_and_remain_valid(manual: Database) -> None:
    keys = ["q+plain=", "spaces", "one", "two"]
    before = [find_app(manual, key).id for key in keys]
    assert hash_plain_keys(manual) == ["front", "back", "twin", "twin"]
    assert [find_app(manual, key).id for key in keys] == before
    stored = read_keys(manual)
    assert all(key.startswith("sha256:") and len(key) <= 80 for key in stored[:4])
    assert hash_plain_keys(manual) == []
    assert read_keys(manual) == stored


def test_the_key_of_one_client_app_is_hashed(manual: Database) -> None:
    assert hash_plain_keys(manual, "back") == ["back"]
    assert [key.startswith("sha256:") for key in read_keys(manual)] == [False, True, False, False, False]
    with pytest.raises(RequestError, match="nobody"):
        hash_plain_keys(manual, "nobody")


def test_a_row_without_a_key_matches_no_key(manual: Database) -> None:
    hash_plain_keys(manual)
    for key in (" ", "  ", hash_key("")):
        with pytest.raises(Forbidden):
            find_app(manual, key)


def test_a_name_with_trailing_spaces_is_found(manual: Database) -> None:
    key = renew_app(manual, "back")
    assert find_app(manual, key).id == 2
    revoke_app(manual, "back")
    with pytest.raises(Forbidden):
        find_app(manual, key)


def test_the_key_of_an_ambiguous_name_is_not_renewed(manual: Database) -> None:
    with pytest.raises(RequestError, match="several"):
        renew_app(manual, "twin")
    assert find_app(manual, "one").id != find_app(manual, "two").id


def test_a_revoked_key_is_invalid(database: Database) -> None:
    key = add_app(database, "front")
    revoke_app(database, "front")
    with pytest.raises(Forbidden):
        find_app(database, key)


def test_a_renewed_key_replaces_the_old_one(database: Database) -> None:
    old = add_app(database, "front")
    app_id = find_app(database, old).id
    assert find_app(database, renew_app(database, "front")).id == app_id
    with pytest.raises(Forbidden):
        find_app(database, old)


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_key_is_not_a_wrong_key(database: Database, key: str | None) -> None:
    with pytest.raises(Unauthenticated):
        find_app(database, key)


@pytest.mark.parametrize("name", ["", "  ", "x" * 51, "taken"])
def test_invalid_names_are_rejected(database: Database, name: str) -> None:
    add_app(database, "taken")
    with pytest.raises(RequestError):
        add_app(database, name)


def test_a_taken_name_says_how_to_replace_key_and_secret(database: Database) -> None:
    add_app(database, "front")
    with pytest.raises(RequestError, match="`apps renew front` replaces its key, `apps secret front` its secret"):
        add_app(database, "front")


def test_commands_add_list_and_revoke(app: Flask) -> None:
    run = app.test_cli_runner().invoke
    added = run(args=["apps", "add", "front"])
    assert (
        find_app(app.extensions["services"].database, added.stdout.strip()).app_name == "front"
    )  # nothing but the key
    assert "whsec_" in added.stderr
    assert "front\thashed key" in run(args=["apps", "list"]).output
    assert run(args=["apps", "add", "front"]).exit_code == 1
    assert find_app(app.extensions["services"].database, run(args=["apps", "renew", "front"]).output.strip())
    assert run(args=["apps", "revoke", "front"]).exit_code == 0
    assert run(args=["apps", "renew", "front"]).exit_code == 1
    assert run(args=["apps", "revoke", "front"]).exit_code == 1


def test_commands_suggest_to_hash_plain_keys(app: Flask) -> None:
    run = app.test_cli_runner().invoke
    with app.extensions["services"].database.session() as session:
        session.add(ClientApp(app_name="old", app_key="plain"))
    listed = run(args=["apps", "list"]).output
    assert "old\tplain key" in listed
    assert "apps hash" in listed
    assert "old" in run(args=["apps", "hash"]).output
    listed = run(args=["apps", "list"]).output
    assert "old\thashed key" in listed
    assert "apps hash" not in listed
    assert "already" in run(args=["apps", "hash", "old"]).output
    assert run(args=["apps", "hash", "nobody"]).exit_code == 1


def find_secrets(database: Database) -> list[str]:
    with database.session() as session:
        return list(session.scalars(select(Secret.secret)))


def test_a_client_app_inserted_by_hand_can_have_a_secret(app: Flask, database: Database) -> None:
    with database.session() as session:
        session.add(ClientApp(app_name="old", app_key="plain"))
    run = app.test_cli_runner().invoke
    first, second = (run(args=["apps", "secret", "old"]).stdout.strip() for _ in range(2))
    assert first != second
    assert find_secrets(database) == [second]
    assert run(args=["apps", "secret", "old", "--remove"]).exit_code == 0
    assert find_secrets(database) == []
    assert run(args=["apps", "secret", "old", "--remove"]).exit_code == 1
    assert run(args=["apps", "secret", "nobody"]).exit_code == 1


def test_revoking_a_client_app_cancels_its_jobs_and_deliveries(services: Services) -> None:
    for name in ("front", "other"):
        add_app(services.database, name)
    request = DetectionRequest("https://a.example/manifest.json", notify_url="https://app.example/news")
    failed, _, leased, _, other = [services.jobs.submit(app_id, [request])[0] for app_id in (1, 1, 1, 1, 2)]
    change_job(services.database, failed.id, lease="held")
    services.jobs.fail(services.jobs.find(failed.id), ManifestError("It is a cake."))
    change_job(services.database, leased.id, state="running", lease="held")
    assert services.outbox.count_due(9) == 1
    revoke_app(services.database, "front")
    assert services.outbox.count_due(9) == 0
    assert services.jobs.count(1, State.CANCELLED) == 3
    assert services.jobs.find(failed.id).state == State.FAILED
    with pytest.raises(LeaseLost):
        services.jobs.heartbeat(services.jobs.find(leased.id))
    found = services.jobs.lease_next(DOWNLOAD)
    assert found is not None
    assert found.id == other.id


def test_revoking_a_client_app_deletes_its_secret(database: Database) -> None:
    for name in ("front", "other"):
        add_app(database, name)
    kept = renew_secret(database, "other")
    renew_secret(database, "front")
    revoke_app(database, "front")
    assert find_secrets(database) == [kept]
