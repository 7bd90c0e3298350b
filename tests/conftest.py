"""Fixtures of all tests: a real broker, an application with its own database, a key, a simulated library."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from app import create_app
from app.auth import add_app
from app.config import Settings
from app.database.sessions import Database
from app.demo.client_app import STOPS_WITHIN, RecordingClientApp, serve
from app.demo.service import choose_settings
from app.services import Services
from tests.support.broker import run_broker
from tests.support.checkpoints import make_module, save_records
from tests.support.library import Library
from tests.support.postgresql import Server, run_server

# Several test processes share the processors. This must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Reading compiled tests takes a second; compiling them takes each test process four more.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

TESTS = Path(__file__).parent

# Imports leave no garbage. To search for it takes a third of their time.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    """Let one of several test processes end without freeing its objects, which would take four seconds."""
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)
    else:
        atexit.register(gc.unfreeze)  # triton reports objects that are not freed


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests: the fastest tier first.

    With several processes, the slowest tier comes first, and in each tier the largest files, which nearly always take
    longest. So no process is left with a long file at the end.
    """
    tiers = ["unit", "integration", "service"]
    sizes = {path: path.stat().st_size for path in {item.path for item in items}}

    def rank(item: pytest.Item) -> tuple[int, int]:
        tier = tiers.index(item.path.relative_to(TESTS).parts[0])
        return (-tier, -sizes[item.path]) if hasattr(config, "workerinput") else (tier, 0)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Isolate ultralytics if a test file imports it. Exclude imported objects from garbage collection, for speed."""
    if "ultralytics" in sys.modules:
        from app.detection.weights import isolate_ultralytics

        isolate_ultralytics()
    gc.enable()
    gc.set_threshold(10_000)
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _compile_each_rule_once() -> Iterator[None]:
    """Keep what werkzeug compiles for the URL rules: it takes 70 % of the time that a new application takes."""
    compiled: dict[Any, Any] = {}
    compile_builder = Rule._compile_builder

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        key = (rule.rule, repr(rule.defaults), append_unknown)
        if key not in compiled:
            compiled[key] = compile_builder(rule, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_once)
        yield


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_settings(monkeypatch)


def hide_settings(patch: pytest.MonkeyPatch) -> None:
    """Hide the settings of this machine from the tests."""
    patch.setitem(Settings.model_config, "env_file", None)
    for name in Settings.model_fields:
        patch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real broker, which runs for the whole session."""
    settings = choose_settings(tmp_path_factory.mktemp("broker"))
    with run_broker(settings):
        yield settings.broker_url


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server, which runs for the whole session."""
    with run_server() as server:
        yield server


@pytest.fixture(scope="session")
def make_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """A function that creates an SQLite file with the current tables and returns its URL. It copies a migrated file."""
    migrated = tmp_path_factory.mktemp("database") / "migrated.db"
    database = Database(f"sqlite:///{migrated}")
    database.upgrade()
    database.close()

    def make(path: Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(migrated, path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture
def database(tmp_path: Path, make_database: Callable[[Path], str]) -> Iterator[Database]:
    """A database with empty tables."""
    database = Database(make_database(tmp_path / "jobs.db"))
    yield database
    database.close()


@pytest.fixture
def settings(tmp_path: Path, broker_url: str, make_database: Callable[[Path], str]) -> Settings:
    models = tmp_path / "models"
    models.mkdir()
    save_records(models / "illustrations.pt", make_module())
    with redis.Redis.from_url(broker_url) as broker:
        broker.flushdb()
    url = make_database(tmp_path / "data" / "service.db")
    return choose_settings(
        tmp_path / "data",
        celery_broker_url=broker_url,
        database_url=url,
        models_folder=models,
        precision="float32",  # trials of other formats take seconds
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    yield app
    app.extensions["queue"].close()
    app.extensions["services"].database.close()


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions["services"]
    return found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def headers(app: Flask) -> dict[str, str]:
    return {"X-API-Key": add_app(app.extensions["services"].database, "front")}


@pytest.fixture
def client_app() -> Iterator[tuple[RecordingClientApp, str]]:
    """A client app that records all requests, and its URL."""
    receiver = RecordingClientApp()
    with serve(receiver.create_app()) as url:
        yield receiver, url


@pytest.fixture(scope="session")
def open_library() -> Iterator[Library]:
    with Library().open() as library:
        yield library


@pytest.fixture
def library(open_library: Library) -> Iterator[Library]:
    """A simulated library without files and without recorded requests."""
    open_library.forget()
    yield open_library
    open_library.forget()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for ``library.example`` and ``localhost``, with its key next to it."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "20200101000000Z", "21200101000000Z")


@pytest.fixture(scope="session")
def expired_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate that expired in 2021."""
    return make_certificate(tmp_path_factory.mktemp("expired"), "20200101000000Z", "20210101000000Z")


def make_certificate(folder: Path, start: str, end: str) -> Path:
    """Create a self-signed certificate that is valid between two dates."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to create a certificate")
    path = folder / "certificate.pem"
    key, request, config = path.with_suffix(".key"), folder / "request.pem", folder / "ca.cnf"
    (folder / "index.txt").touch()
    config.write_text(
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n"
        "new_certs_dir=.\nx509_extensions=names\n[any]\ncommonName=supplied\n"
        "[names]\nsubjectAltName=DNS:library.example,DNS:localhost\n"
    )
    create_request = [
        "req",
        "-new",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-subj",
        "/CN=library.example",
    ]
    sign = ["ca", "-batch", "-selfsign", "-config", config, "-startdate", start, "-enddate", end, "-notext"]
    for command in (
        [*create_request, "-keyout", key, "-out", request],
        [*sign, "-keyfile", key, "-in", request, "-out", path],
    ):
        subprocess.run([openssl, *command], check=True, capture_output=True, cwd=folder)
    return path


@pytest.fixture(scope="session")
def tls_url(certificate: Path) -> Iterator[str]:
    """A URL of ``library.example`` on loopback that answers ``found`` over TLS."""
    with serve_tls(certificate) as port:
        yield f"https://library.example:{port}/x"


@contextmanager
def serve_tls(certificate: Path) -> Iterator[int]:
    """Run a server that answers ``found`` over TLS; yield its port on loopback."""
    context = (str(certificate), str(certificate.with_suffix(".key")))
    with serve_on_loopback(Response("found"), ssl_context=context) as port:
        yield port


@contextmanager
def serve_on_loopback(app: Any, **options: Any) -> Iterator[int]:
    """Serve an application with werkzeug's server; yield its port on loopback."""
    server = make_server("127.0.0.1", 0, app, **options)
    thread = threading.Thread(target=server.serve_forever, args=(STOPS_WITHIN,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
