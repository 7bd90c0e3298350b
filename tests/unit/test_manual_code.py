"""The Python code of the manual runs, and checks signatures of the service as the manual says."""

import inspect
import io
import json
import runpy
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import requests
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from app.config import ROOT
from app.delivery.payloads import build_headers, format_event, make_secret
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.exports.annotation_files import format_text
from app.similarity.scores import ComparedDocument, Scores, format_scores
from tests.support.manual import CLIENT_PAGES, list_blocks, read_page

SECRET = make_secret()
EVENT = format_event("job.done", "2026-01-02T03:04:05Z", {"job_id": "é"}).encode()
SCORES = format_scores(
    Scores([0], [0], [0.5], [0]),
    ComparedDocument("a", "", ["é.jpg"], [""], [], [], []),
    ComparedDocument("b", "", ["2.jpg"], [""], [], [], []),
)
BLOCKS = [block for page in CLIENT_PAGES for block in list_blocks(read_page(f"docs/{page}.md"), "python")]
FILES = {block.splitlines()[0].removeprefix("# "): block for block in BLOCKS if block.startswith("# ")}


def build_form(files: dict[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """Return the body of a form and its media type."""
    form = requests.Request("POST", "http://a.example", data={"model": "m"}, files=files).prepare()
    assert isinstance(form.body, bytes)
    return form.body, form.headers["Content-Type"]


ANNOTATIONS = build_form({"annotation_file": ("ms-3.txt", "1 é.jpg\n".encode())})
PAIR = build_form({"a-b": ("a-b.npy", SCORES)})


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """Import a file of the manual for the time of a test."""
    module = ModuleType(name.removesuffix(".py"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(FILES[name], name, "exec"), module.__dict__)  # noqa: S102
    return module


def sign(body: bytes, age: int = 0) -> dict[str, str]:
    return build_headers("message", body, int(time.time()) - age, SECRET)


def test_every_block_of_python_is_run_here() -> None:
    assert set(FILES) == {"signature.py", "package_signature.py", "views.py", "urls.py", "settings.py"}
    assert len(BLOCKS) == len(FILES) + 2


@pytest.mark.parametrize(
    ("file", "body"),
    [
        ("signature.py", EVENT),
        ("signature.py", ANNOTATIONS[0]),
        ("signature.py", PAIR[0]),
        ("package_signature.py", EVENT),
        ("package_signature.py", ANNOTATIONS[0]),
    ],
    ids=["event", "annotations", "scores", "package, event", "package, annotations"],
)
def test_a_genuine_message_is_accepted_and_a_forged_one_refused(
    monkeypatch: pytest.MonkeyPatch, file: str, body: bytes
) -> None:
    is_genuine = load(monkeypatch, file).is_genuine
    headers = sign(body)
    assert is_genuine(body, headers, SECRET)
    assert is_genuine(body, {name.title(): value for name, value in headers.items()}, SECRET)
    assert is_genuine(body, headers | {"webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}, SECRET)
    assert is_genuine(body, sign(body, age=290), SECRET)
    for forged in (
        sign(body, age=310),
        sign(body, age=-310),
        headers | {"webhook-id": "other"},
        headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)},
        headers | {"webhook-signature": "nonsense"},
        {"webhook-id": "message"},
        {},
    ):
        assert not is_genuine(body, forged, SECRET), forged
    assert not is_genuine(body + b" ", headers, SECRET)
    assert not is_genuine(body, headers, make_secret())


def test_the_client_checks_signatures_with_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    client = runpy.run_path(str(ROOT / "docs" / "client.py"))
    assert inspect.getsource(client["is_genuine"]).strip() in FILES["signature.py"]


def pretend_django(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer what the views of the manual import from Django, as far as they use it."""
    parts: dict[str, dict[str, Any]] = {
        "django": {},
        "django.conf": {"settings": SimpleNamespace(EXTRACTOR_SECRET=SECRET)},
        "django.http": {
            "HttpResponse": lambda: SimpleNamespace(status_code=200),
            "HttpResponseForbidden": lambda: SimpleNamespace(status_code=403),
        },
        "django.urls": {"path": lambda route, view: (route, view)},
        "django.views": {},
        "django.views.decorators": {},
        "django.views.decorators.csrf": {"csrf_exempt": lambda view: view},
        "django.views.decorators.http": {"require_POST": lambda view: view},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


def build_request(body: bytes, content_type: str, headers: dict[str, str]) -> SimpleNamespace:
    """Return a request as a Django view reads it."""
    built = EnvironBuilder(method="POST", input_stream=io.BytesIO(body), content_length=len(body))
    built.content_type = content_type
    built.headers.update(headers)
    with Request(built.get_environ()) as request:
        request.get_data(parse_form_data=False)  # as Django does: the body stays readable
        files = {name: io.BytesIO(file.read()) for name, file in request.files.items()}
        return SimpleNamespace(body=body, headers=request.headers, POST=request.form, FILES=files)


@pytest.mark.parametrize(
    ("route", "path", "body", "content_type", "saved"),
    [
        ("annotate/<str:manifest_ref>", {"manifest_ref": "ms-3"}, *ANNOTATIONS, ("ms-3", "m", "1 é.jpg\n".encode())),
        ("similarity", {}, *PAIR, ("a-b", "m", SCORES)),
        ("events", {}, EVENT, "application/json", (json.loads(EVENT),)),
    ],
    ids=["annotations", "scores", "event"],
)
def test_the_views_for_django_save_signed_messages_only(
    monkeypatch: pytest.MonkeyPatch, route: str, path: dict[str, str], body: bytes, content_type: str, saved: Any
) -> None:
    pretend_django(monkeypatch)
    kept: list[Any] = []
    results = ModuleType("results")
    for name in ("save_annotations", "save_scores", "save_event"):
        results.__dict__[name] = lambda *content: kept.append(content)
    monkeypatch.setitem(sys.modules, "results", results)
    for name in ("signature.py", "views.py"):
        load(monkeypatch, name)
    view = dict(load(monkeypatch, "urls.py").urlpatterns)[route]
    for forged in ({"webhook-id": "message"}, sign(body, age=310), sign(body + b" ")):
        assert view(build_request(body, content_type, forged), **path).status_code == 403
    assert kept == []
    assert view(build_request(body, content_type, sign(body)), **path).status_code == 200
    assert kept == [("message", *saved)]


def test_the_settings_for_django_read_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRACTOR_SECRET", SECRET)
    assert load(monkeypatch, "settings.py").EXTRACTOR_SECRET == SECRET


def test_the_parser_of_annotation_files_returns_every_box() -> None:
    (block,) = list_blocks(read_page("docs/detection.md"), "python")
    names: dict[str, Any] = {}
    exec(compile(block, "detection.md", "exec"), names)  # noqa: S102
    boxes = tuple(BoxRecord((number, 2, 3, 4), 0.9, 0, "illustration") for number in (1, 2))
    pages = [
        AnnotatedPage(1, "", "1.jpg", 800, 600, PageStatus.DETECTED, boxes),
        AnnotatedPage(2, "", "2.jpg", 800, 600, PageStatus.EMPTY),
        AnnotatedPage(3, "", "3.jpg", None, None, PageStatus.FAILED, reason="It is gone."),
    ]
    expected = {1: ("1.jpg", [(1, 2, 3, 4), (2, 2, 3, 4)]), 2: ("2.jpg", [])}
    assert names["parse_annotations"](format_text(pages)) == expected


def test_the_score_file_is_read_as_the_manual_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = list_blocks(read_page("docs/similarity.md"), "python")
    (tmp_path / "ms-1-ms-2.npy").write_bytes(SCORES)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "similarity.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "0.5 é.jpg 2.jpg\n"
