"""What people try who mean no good. Each is refused with a sentence, or accepted and harmless; nothing is left behind.

Not here: zip files and dataset descriptions, which come with training; weights that run code as such
(``tests/unit/detection``); addresses that are private (``test_addresses.py``), which are refused when they are fetched.
"""

import io
import json
import os
import pickle
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import func, select

from app import create_app
from app.auth import add_app, hash_key, revoke_app
from app.config import ROOT
from app.database.tables import Job
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.demo.service import choose_settings
from tests.support.api import Api, open_api
from tests.support.openapi_document import PATHS
from tests.support.service import open_service

MANIFEST = "https://library.example/manifest.json"
LIST = "https://app.example/list.json"
SECRET = "what stands in a file beside the data folder"
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"

TRAVERSAL = [
    "..",
    "../secret.txt",
    "../secret",
    "../../../../etc/passwd",
    "..\\..\\secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "%2e%2e%2fsecret.txt",
    "..%2f..%2fsecret.txt",
    "..%252fsecret.txt",
    "..%c0%afsecret.txt",
    "....//....//secret.txt",
    "illustrations.pt/../../secret",
    "illustrations.pt\x00.txt",
    "\x00",
    "." * 300,
    "../" * 100 + "etc/passwd",
    "~/.ssh/id_rsa",
    "C:\\Windows\\win.ini",
    "\\\\host\\share\\x.pt",
    "/proc/self/environ",
    "/dev/zero",
    ".env",
    "CON",
]
INJECTION = [
    "' OR '1'='1",
    "'; DROP TABLE jobs; --",
    '" UNION SELECT app_key FROM apps --',
    "1; SELECT pg_sleep(9)",
    "$(touch /tmp/x)",
    "`id`",
    "| id",
    "{{7*7}}",
    "${7*7}",
    "%s%s%n",
    "<script>alert(1)</script>",
    "a\r\nX-Injected: yes",
    "a\r\n\r\nHTTP/1.1 200 OK",
    "a\x00b",
    "\x1b[2J",
    "\u202egpj.exe",
    "\ud7ff\ufffe",
    "9" * 5000,
    "-1",
    "1e309",
    "NaN",
    "null",
    "١٢٣",
    "A" * 100_000,
]
HOSTILE = TRAVERSAL + INJECTION


@dataclass(frozen=True)
class Case:
    """A request. Unless it may be accepted, it is refused; ``status`` is the one answer where there is only one."""

    name: str
    method: str = "POST"
    path: str = "/run_detect"
    form: dict[str, Any] = field(default_factory=lambda: {"manifest_url": MANIFEST})
    body: bytes | None = None
    kind: str = FORM
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "good"
    harmless: bool = False
    status: int | None = None


def build_field_cases() -> Iterator[Case]:
    for text in HOSTILE:
        for name in ("manifest_url", "model", "callback", "image_size"):
            yield Case(f"{name} {text[:30]!r}", form={"manifest_url": MANIFEST, name: text}, status=400)
        # What is only passed through, or only looked at when it is posted to, may be odd.
        for name, value in {"experiment_id": text, "callback": f"http://{text}", text: text}.items():
            form = {"manifest_url": MANIFEST, name: value}
            yield Case(f"{name[:30]!r} is {value[:30]!r}", form=form, harmless=True)


def build_path_cases() -> Iterator[Case]:
    for text in HOSTILE:
        name, segment = repr(text[:30]), quote(text[:3000], safe="")
        for method, action in (("GET", ""), ("GET", "/annotations"), ("POST", "/cancel"), ("POST", "/redeliver")):
            yield Case(f"{method} job {name}{action}", method, f"/jobs/{segment}{action}")
        for query in ("state", "limit"):
            yield Case(f"{query} {name}", "GET", f"/jobs?{query}={segment}", status=400)
        yield Case(f"format {name}", "GET", f"/jobs/{{job}}/annotations?format={segment}", status=400)
        yield Case(f"path {name}", "GET", f"/{segment}", status=404)


def build_upload_cases() -> Iterator[Case]:
    for text in HOSTILE:
        good, bad = f"{MANIFEST}\n".encode(), text.encode("utf-8", "replace")
        yield Case(
            f"file name {text[:30]!r}", path="/detect_all", form={"url_file": (good, text[:3000])}, harmless=True
        )
        yield Case(f"line {text[:30]!r}", path="/detect_all", form={"url_file": (bad, "list.txt")}, status=400)
    archive, bomb = pickle.dumps(Harm("harm")), zlib.compress(bytes(10_000_000))
    for name, content in {"pickle": archive, "compressed": bomb, "binary": bytes(range(256)), "empty": b""}.items():
        yield Case(f"upload {name}", path="/detect_all", form={"url_file": (content, "x.pt")}, status=400)
    many = b"\n".join(b"https://a.example/%d" % number for number in range(10_001))
    yield Case("10,001 manifests", path="/detect_all", form={"url_file": (many, "x")}, status=400)


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


PART = b'--b\r\nContent-Disposition: form-data; name="manifest_url"\r\n\r\nhttps://a.example/1'
NAMED = b"manifest_url=https://a.example/1"


def build_comparison_cases() -> Iterator[Case]:
    def compare(name: str, body: Any, path: str = "/run_similarity", **options: Any) -> Case:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Case(f"{path}: {name}", path=path, body=text, kind="application/json", **options)

    documents = {"a": LIST}
    for text in HOSTILE:
        shown = repr(text[:30])
        is_path = "/" in text or "\\" in text or text == ".." or not text.isprintable() or len(text) > 200
        name = {"status": 400} if is_path else {"harmless": True}
        yield compare(f"id {shown}", {"documents": {text: LIST}}, **name)
        yield compare(f"id {shown}", {"documents": [text]}, "/delete_similarity", **name)
        for source in (text, {"job_id": text}, {"manifest_url": text}, {text: LIST}):
            yield compare(f"source {str(source)[:30]}", {"documents": {"a": source}}, status=400)
        for option in ("model", "callback", "notify_url", "topk", "transpositions", "pooling"):
            harmless = option == "transpositions" and text == ""
            yield compare(f"{option} {shown}", {"documents": documents, option: text}, harmless=harmless)
        yield compare(f"experiment_id {shown}", {"documents": documents, "experiment_id": text}, harmless=True)
        yield Case(f"form {shown}", path="/run_similarity", form={"documents": text}, status=400)
        segment = quote(text[:3000], safe="")
        yield Case(f"scores {shown}", "GET", f"/jobs/{{job}}/scores/{segment}", status=404)
    for option in ("documents", "model", "callback", "topk", "transpositions", "pooling", "experiment_id"):
        for value in (True, 1.5, -1, 10**40, [], {}, [[]], [{"a": 1}], {"a": [1]}):
            harmless = option == "transpositions" and value == []
            harmless |= type(value) is int and option == "experiment_id"
            yield compare(f"{option} is {value}", {"documents": documents} | {option: value}, harmless=harmless)
    deep = b'{"documents": ' + b'{"a": ' * 100_000
    many = {"documents": {str(number): LIST for number in range(201)}}
    for name, body in {"deep": deep, "201 documents": many, "NUL": b"\0", "a number": b"1"}.items():
        yield compare(name, body, status=400)


def build_body_cases() -> Iterator[Case]:
    bodies = {
        "nothing": (FORM, b"", 400),
        "JSON": ("application/json", json.dumps({"manifest_url": MANIFEST}).encode(), 400),
        "deep JSON": ("application/json", b"[" * 1_000_000, 400),
        "XML": ("application/xml", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', 400),
        "a kind that is none": ("\x7f/;;=", NAMED, 400),
        "compressed": (FORM, zlib.compress(NAMED), 400),
        "10,000 fields": (FORM, b"&".join(b"a%d=1" % number for number in range(10_000)), 413),
        "a million empty fields": (FORM, b"&" * 1_000_000, 413),
        "10,000 parts": (MULTIPART, (PART.replace(b"manifest_url", b"x") + b"\r\n") * 10_000 + b"--b--\r\n", 413),
        "17 MB": (FORM, NAMED + b"x" * 17_000_000, 413),
        "a field of 500 kB": (FORM, NAMED + b"x" * 500_000, 400),
        "bytes that are not text": (FORM, b"manifest_url=\xff\xfe\x00", 400),
        "quoted bytes that are not text": (FORM, b"manifest_url=%FF%FE%00", 400),
        "half a quoted byte": (FORM, b"manifest_url=%F", 400),
        "no boundary": ("multipart/form-data", PART + b"\r\n--b--\r\n", 400),
        "another boundary": ("multipart/form-data; boundary=c", PART + b"\r\n--b--\r\n", 400),
        "a boundary that is not ASCII": ("multipart/form-data; boundary=\xe9", PART + b"\r\n--b--\r\n", 400),
        "a long boundary": (f"multipart/form-data; boundary={'b' * 5000}", PART, 400),
        "a part that does not end": (MULTIPART, PART, 400),
        "a part without a name": (MULTIPART, b"--b\r\n\r\nx\r\n--b--\r\n", 400),
        "a part with a huge header": (MULTIPART, b"--b\r\n" + b"X: y" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n", 400),
        "a part in an odd character set": (
            MULTIPART,
            PART.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=idna\r\n\r\n") + b"x\r\n--b--\r\n",
            None,
        ),
    }
    for name, (kind, body, status) in bodies.items():
        yield Case(f"body: {name}", body=body, kind=kind, status=status, harmless=status is None)
    yield Case("body: said to be compressed", headers={"Content-Encoding": "gzip"}, body=zlib.compress(NAMED))
    yield Case("a file in place of a field", kind=MULTIPART, form={"manifest_url": (b"x", "x")}, status=400)
    yield Case("a field in place of a file", path="/detect_all", form={"url_file": MANIFEST}, status=400)


def build_header_cases() -> Iterator[Case]:
    for host in ("a b", "a/b", "[::1", "a@b", "evil.example\\@x", "..", "a:99999", "a:-1", "é"):
        yield Case(f"Host {host!r}", headers={"Host": host}, harmless=host in ("..", "a:99999"))
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        yield Case(f"{name}", "GET", "/jobs/{job}/cancel", headers={name: "POST"}, status=405)
    for name in ("X-Original-URL", "X-Rewrite-URL"):
        yield Case(f"{name}", "GET", "/nowhere", headers={name: "/jobs"}, status=404)
    for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded", "X-App", "Cookie"):
        yield Case(f"{name} for a key", "GET", "/jobs", headers={name: "127.0.0.1"}, key="none", status=400)
    for scheme in ("Basic YTpi", "Bearer x"):
        yield Case(f"Authorization {scheme}", "GET", "/jobs", headers={"Authorization": scheme}, key="none", status=400)
    for header in ("Range", "If-Range", "If-None-Match", "Accept", "Accept-Encoding", "Content-MD5", "Expect"):
        yield Case(f"{header} of 60 kB", "GET", "/jobs", headers={header: "x" * 60_000}, harmless=True)
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "JEFF"):
        yield Case(f"{method} /jobs", method, "/jobs", status=405)


def build_key_cases() -> Iterator[Case]:
    refused = {"none": 400, "wrong": 403, "revoked": 403, "digest": 403, "spaces": 403, "long": 403, "bytes": 403}
    for path, methods in PATHS.items():
        for method, operation in methods.items():
            if "security" in operation:
                continue
            place = path.replace("{job_id}", "{job}").replace("{pair}", "a-b")
            for key, status in refused.items():
                yield Case(f"{method} {path} with the key {key}", method.upper(), place, key=key, status=status)
            if "{job_id}" in path:
                yield Case(f"{method} {path} of another", method.upper(), place, key="stranger", status=404)
    for text in HOSTILE:
        if text.isascii() and text.isprintable():
            yield Case(f"key {text[:30]!r}", "GET", "/jobs", headers={"X-API-Key": text}, key="none", status=403)


CASES = [
    *build_field_cases(),
    *build_path_cases(),
    *build_upload_cases(),
    *build_comparison_cases(),
    *build_body_cases(),
    *build_header_cases(),
    *build_key_cases(),
]


class Target:
    """An application in a folder of its own, with something beside its data that is nobody's business."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.folder = folder
        models = folder / "models"
        models.mkdir()
        (models / "illustrations.pt").touch()
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
        """Return what lies outside of the database: the API itself writes nowhere else."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("service.db")]
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Target]:
    target = Target(tmp_path_factory.mktemp("target"), broker_url)
    yield target
    target.app.extensions["queue"].close()
    target.database.close()


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Counts what became of the cases, and says it at the end."""
    tally: Counter[str] = Counter()
    yield tally
    holes = tally["tried"] - tally["refused"] - tally["harmless"]
    line = f"tried {tally['tried']}, refused {tally['refused']}, harmless {tally['harmless']}, holes {holes}"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nabuse: {line}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_abuse_is_refused_with_a_sentence_or_harmless(target: Target, tally: Counter[str], case: Case) -> None:
    tally["tried"] += 1
    jobs, files = target.count_jobs(), target.list_files()
    answer = target.send(case)
    assert target.list_files() == files
    assert SECRET not in answer.text
    assert "X-Injected" not in answer.headers
    if answer.status_code == 200:
        assert case.harmless
        tally["harmless"] += 1
        return
    assert 400 <= answer.status_code < 500
    assert case.status in (None, answer.status_code)
    assert target.count_jobs() == jobs, "a refused request left a job"
    sentence = answer.json["message"]
    assert sentence.endswith((".", "?")), sentence
    assert sentence.isprintable()
    assert len(sentence) < 1000
    tally["refused"] += 1


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("api"), celery_broker_url=broker_url, request_seconds=5) as api:
        yield api


HIDDEN = b"GET /models HTTP/1.1\r\nHost: api\r\n\r\n"
GET = b"GET /models HTTP/1.1\r\nHost: api\r\n"
POST = b"POST /run_detect HTTP/1.1\r\nHost: api\r\n"
LENGTH, CHUNKED = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"

# Each hides a second request in the first, or is read differently by different servers: the second is never served.
SMUGGLED = {
    "a length and chunks": POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "chunks and a length": POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + LENGTH + b"Content-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 5, 0\r\n\r\n" + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n" + HIDDEN,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + HIDDEN,
    "a length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\n" + HIDDEN,
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n" + HIDDEN,
    "an odd encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
    "chunks twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "chunks before another encoding": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a tab before the encoding": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a chunk of a negative size": POST + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a chunk of an endless size": POST + CHUNKED + b"\r\n" + b"f" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    "NUL in a header": GET + b"X-A: a\x00b\r\n\r\n",
    "a line feed in a header": GET + b"X-A: a\rX-B: b\r\n\r\n",
    "a header without a name": GET + b": x\r\n\r\n",
    "a header name that is not ASCII": GET + b"X-\xff: x\r\n\r\n",
    "a header of 100 kB": GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "500 headers": GET + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
    "a long address": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: api\r\n\r\n",
    "a version that is none": b"GET /models HTTP/9.9\r\nHost: api\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a method that is none": b"G\xffT /models HTTP/1.1\r\nHost: api\r\n\r\n",
}


@pytest.mark.parametrize("content", SMUGGLED.values(), ids=SMUGGLED)
def test_a_request_that_can_be_read_in_two_ways_is_refused(api: Api, tally: Counter[str], content: bytes) -> None:
    tally["tried"] += 1
    statuses = api.send(content)
    assert statuses
    assert all(400 <= status < 500 or status in (501, 505) for status in statuses), statuses
    assert api.count_jobs() == 0
    for answer in api.send_and_read(content):
        assert answer["message"].endswith(".")
        assert answer["code"]
    tally["refused"] += 1


def test_weights_that_run_code_are_refused_by_name_and_run_nothing(tmp_path: Path, tally: Counter[str]) -> None:
    tally["tried"] += 1
    models, harm = tmp_path / "models", tmp_path / "harm"
    models.mkdir()
    (models / "evil.pt").write_bytes(pickle.dumps(Harm(str(harm))))
    library = create_iiif_server(ROOT / "iiif" / "sample")
    with open_service(tmp_path / "data", models_folder=models) as service, serve(library) as sample:
        form = {"manifest_url": f"{sample}/manifest.json", "model": "evil"}
        job = service.finish(service.post("/run_detect", data=form)["job_id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_weights")
    assert "evil.pt" in job["error"]["message"]
    assert not harm.exists()
    tally["refused"] += 1
