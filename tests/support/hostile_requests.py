"""Hostile requests, grouped by the part that is hostile.

Other tests cover zip files and data sets (``tests/unit/training``), weights that run code (``tests/unit/detection``),
and private addresses, which are rejected when they are fetched (``tests/integration/net``).
"""

import json
import os
import pickle
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.support.openapi_document import PATHS

MANIFEST = "https://library.example/manifest.json"
LIST = "https://app.example/list.json"
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
    """A request, and how the API may respond.

    Attributes:
        key: Name of the API key to send; ``none`` for no key.
        harmless: Whether the request may be accepted.
        status: Expected status of the error; None for any status from 400 to 499.
    """

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
        for name in ("manifest_url", "model", "callback", "image_size", "tiles"):
            yield Case(f"{name} {text[:30]!r}", form={"manifest_url": MANIFEST, name: text}, status=400)
        # Any text is valid in fields that are passed through, and any host in a callback until it is called.
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
    """Creates a folder when it is unpickled."""

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
        for option in ("model", "callback", "notify_url", "topk", "verify", "transpositions", "pooling"):
            harmless = option == "transpositions" and text == ""
            yield compare(f"{option} {shown}", {"documents": documents, option: text}, harmless=harmless)
        yield compare(f"experiment_id {shown}", {"documents": documents, "experiment_id": text}, harmless=True)
        yield Case(f"form {shown}", path="/run_similarity", form={"documents": text}, status=400)
        segment = quote(text[:3000], safe="")
        yield Case(f"scores {shown}", "GET", f"/jobs/{{job}}/scores/{segment}", status=404)
    for option in ("documents", "model", "callback", "topk", "verify", "transpositions", "pooling", "experiment_id"):
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
            place = (
                path.replace("{job_id}", "{job}")
                .replace("{pair}", "a-b")
                .replace("{task}", "query" if "search" in path else "regions")
            )
            if path.endswith("/pairs/{a}/{b}.jpg"):
                place = "/jobs/{job}/pairs/a/b.jpg?image_1=x&image_2=y"
            for key, status in refused.items():
                yield Case(f"{method} {path} with the key {key}", method.upper(), place, key=key, status=status)
            if "{job_id}" in path:
                # Required fields are checked before the job is found.
                body, name = b'{"boxes": [], "name": "x"}', f"{method} {path} of another"
                kind = "application/json"
                yield Case(name, method.upper(), place, body=body, kind=kind, key="stranger", status=404)
    for text in HOSTILE:
        if text.isascii() and text.isprintable():
            yield Case(f"key {text[:30]!r}", "GET", "/jobs", headers={"X-API-Key": text}, key="none", status=403)


KINDS: dict[str, Callable[[], Iterator[Case]]] = {
    "fields": build_field_cases,
    "paths": build_path_cases,
    "uploads": build_upload_cases,
    "comparisons": build_comparison_cases,
    "bodies": build_body_cases,
    "headers": build_header_cases,
    "keys": build_key_cases,
}
