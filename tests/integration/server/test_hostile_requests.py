"""Two thousand hostile requests. Each is rejected with a message or harmless, and leaves no files."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app import create_app
from app.auth import add_app, hash_key, revoke_app
from app.database.tables import Job
from app.demo.service import choose_settings
from tests.support.checkpoints import make_module, save_records
from tests.support.hostile_requests import KINDS, Case

SECRET = "the content of a file next to the data folder"


class Target:
    """An application with its own folder, and secret files next to its data that no request may read."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.folder = folder
        models = folder / "models"
        models.mkdir()
        save_records(models / "illustrations.pt", make_module())
        for name in ("secret.txt", "secret.pt"):
            (folder / name).write_text(SECRET)
        limits = {"rate_limit": "off", "rate_limit_address": "off"}
        settings = choose_settings(folder / "data", celery_broker_url=broker_url, models_folder=models, **limits)
        self.app: Flask = create_app(settings)
        self.database = self.app.extensions["services"].database
        self.keys = {name: add_app(self.database, name) for name in ("good", "stranger", "revoked")}
        revoke_app(self.database, "revoked")
        self.keys |= {"wrong": "no", "spaces": f"{self.keys['good']} x", "long": "x" * 60_000, "bytes": "\xff\xfe"}
        self.keys["digest"] = hash_key(self.keys["good"])
        self.job = self.send(Case("a job")).json["job_id"]

    def send(self, case: Case) -> Any:
        headers = dict(case.headers)
        if case.key != "none":
            headers["X-API-Key"] = self.keys[case.key]
        body: dict[str, Any] = {"data": case.body, "content_type": case.kind}
        if case.body is None and case.method == "POST":
            files = {name: (io.BytesIO(each[0]), each[1]) for name, each in case.form.items() if type(each) is tuple}
            body = {"data": case.form | files}
        path = case.path.replace("{job}", self.job) if "{job}" in case.path else case.path
        return self.app.test_client().open(path, method=case.method, headers=headers, **body)

    def count_jobs(self) -> int:
        with self.database.session() as session:
            return session.scalar(select(func.count()).select_from(Job)) or 0

    def list_files(self) -> dict[str, bytes]:
        """Return all files except the database, the only file that the API may write."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("service.db")]
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Target]:
    target = Target(tmp_path_factory.mktemp("target"), broker_url)
    yield target
    target.app.extensions["queue"].close()
    target.database.close()


def check(target: Target, case: Case, files: dict[str, bytes]) -> None:
    """Send a request and check that it does no harm."""
    jobs = target.count_jobs()
    answer = target.send(case)
    assert target.list_files() == files
    assert SECRET not in answer.text
    assert "X-Injected" not in answer.headers
    if answer.status_code == 200:
        assert case.harmless
        return
    assert 400 <= answer.status_code < 500
    assert case.status in (None, answer.status_code)
    assert target.count_jobs() == jobs, "a rejected request created a job"
    sentence = answer.json["message"]
    assert sentence.endswith((".", "?")), sentence
    assert sentence.isprintable()
    assert len(sentence) < 1000


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_requests_are_rejected_with_a_message_or_harmless(target: Target, kind: str) -> None:
    files, harm = target.list_files(), {}
    for case in KINDS[kind]():
        try:
            check(target, case, files)
        except AssertionError as error:
            harm[case.name] = str(error)
    assert not harm


def test_there_are_many_hostile_requests_of_every_kind() -> None:
    counts = {kind: sum(1 for _ in build()) for kind, build in KINDS.items()}
    assert min(counts.values()) > 20
    assert sum(counts.values()) > 1800
