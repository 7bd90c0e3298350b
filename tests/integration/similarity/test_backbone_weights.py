"""Downloads of weights files: complete or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.errors import BackboneError
from app.similarity.backbone_weights import compute_digest, fetch_weights, find_weights
from app.similarity.backbones import BACKBONES, Backbone

CONTENT = bytes(range(256)) * 20_000


class Publisher(ThreadingHTTPServer):
    """A server that publishes one file; it can truncate it or answer with an error.

    Attributes:
        content: Content of the file.
        sent: Number of bytes that are sent.
        status: HTTP status of every answer.
        requests: Number of requests so far.
        second: Set after the second request; an answer waits for it for at most half a second.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.sent = len(CONTENT)
        self.status = 200
        self.requests = 0
        self.second = threading.Event()
        self.second.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/published.pth"


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.requests > 1:
            self.server.second.set()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.server.second.wait(0.5)
        self.wfile.write(self.server.content[: self.server.sent])

    def handle(self) -> None:
        with suppress(ConnectionError):  # after a 403, the client closes the connection early
            super().handle()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Publisher]:
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with serve() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "backbones"


def publish(publisher: Publisher, algorithm: str = "md5", content: bytes = CONTENT) -> Backbone:
    checksum = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()[:8]}"
    return replace(BACKBONES["resnet34"], url=publisher.url, checksum=checksum)


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_missing_file_is_downloaded_once(publisher: Publisher, folder: Path, algorithm: str) -> None:
    backbone = publish(publisher, algorithm)
    assert fetch_weights(backbone, folder) == fetch_weights(backbone, folder) == folder / "resnet34.pth"
    assert (folder / "resnet34.pth").read_bytes() == CONTENT
    assert publisher.requests == 1
    assert list_files(folder) == ["resnet34.pth"]


def test_a_file_with_a_name_of_its_own_is_downloaded_under_it(publisher: Publisher, folder: Path) -> None:
    checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    backbone = replace(BACKBONES["sscd_disc_mixup"], url=publisher.url, checksum=checksum)
    assert fetch_weights(backbone, folder) == folder / "sscd_disc_mixup.torchscript.pt"
    assert list_files(folder) == ["sscd_disc_mixup.torchscript.pt"]


def test_progress_is_shown(publisher: Publisher, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch_weights(publish(publisher), folder)
    shown = capsys.readouterr().err
    assert "resnet34" in shown
    assert "100%" in shown


def test_a_file_with_the_wrong_checksum_is_rejected(publisher: Publisher, folder: Path) -> None:
    backbone = publish(publisher, content=b"the published one")
    with pytest.raises(BackboneError, match=r"published checksum.*download http.* to models/backbones/resnet34\.pth"):
        fetch_weights(backbone, folder)
    assert list_files(folder) == []


def test_an_aborted_download_leaves_no_file(publisher: Publisher, folder: Path) -> None:
    publisher.sent = len(CONTENT) // 2
    with pytest.raises(BackboneError, match=r"the connection was closed early.*download http"):
        fetch_weights(publish(publisher), folder)
    assert list_files(folder) == []
    publisher.sent = len(CONTENT)
    assert fetch_weights(publish(publisher), folder).read_bytes() == CONTENT


def test_an_http_error_of_the_server_is_reported(publisher: Publisher, folder: Path) -> None:
    publisher.status = 403
    with pytest.raises(BackboneError, match=r"HTTP 403.*download http"):
        fetch_weights(publish(publisher), folder)
    assert list_files(folder) == []


def test_without_internet_the_error_names_url_and_path(folder: Path) -> None:
    with serve() as gone:
        backbone = publish(gone)
    with pytest.raises(BackboneError, match=r"no connection.*download http.*published\.pth to models/backbones/"):
        fetch_weights(backbone, folder)
    with pytest.raises(BackboneError, match=r"not on this server: download http"):
        find_weights(backbone, folder)


def test_concurrent_requests_download_a_file_once(publisher: Publisher, folder: Path) -> None:
    backbone = publish(publisher)
    publisher.second.clear()
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(lambda _: fetch_weights(backbone, folder), range(2)))
    assert found == [folder / "resnet34.pth"] * 2
    assert publisher.requests == 1


def test_a_safetensors_file_replaces_the_download(publisher: Publisher, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "resnet34.safetensors").write_bytes(b"x")
    assert fetch_weights(publish(publisher), folder) == folder / "resnet34.safetensors"
    assert publisher.requests == 0


def test_the_digest_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    first = compute_digest(path)
    path.write_bytes(b"the other")
    assert compute_digest(path) != first
