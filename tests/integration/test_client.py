"""The client of the manual, ``docs/client.py``: requests, errors and retries; and its example."""

import json
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from app.delivery.payloads import build_headers, format_event, make_secret
from tests.support.library import Answer, Library
from tests.support.manual import import_client

BUSY = {"message": "The service is busy.", "code": "busy"}
DONE = {"job_id": "1", "state": "done", "progress": {"stage": "done", "done": 2, "total": 2}}
RUNNING = DONE | {"state": "running"}
FAILED = DONE | {"state": "failed", "error": {"code": "fetch_failed", "message": "The manifest is gone."}}


@pytest.fixture(scope="module")
def client() -> ModuleType:
    return import_client()


@pytest.fixture
def api(client: ModuleType, library: Library) -> Any:
    """A client of a fake service, which answers what a test sets. It never waits longer than a moment."""
    return client.Client(f"{library.url}/", " key\n", timeout=10, attempts=3, patience=0.01)


def list_sent(library: Library) -> list[str]:
    return [asked.path for asked in library.asked]


def test_a_request_has_the_key_and_starts_a_job(api: Any, library: Library) -> None:
    library.answer("/run_detect", Answer(body={"job_id": "7"}))
    assert api.detect("https://a.example/manifest.json", model="m") == "7"
    assert [asked.headers["X-Api-Key"] for asked in library.asked] == ["key"]


def test_a_file_is_uploaded(api: Any, library: Library, tmp_path: Path) -> None:
    library.answer("/run_detect", Answer(503, BUSY, {"Retry-After": "0"}), Answer(body={"job_id": "7"}))
    file = tmp_path / "scan.pdf"
    file.write_bytes(b"%PDF" * 100)
    assert api.detect(file) == "7"
    first, second = (int(asked.headers["Content-Length"]) for asked in library.asked)
    assert first == second > 400


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(api: Any, library: Library, status: int) -> None:
    library.answer("/run_similarity", Answer(status, BUSY, {"Retry-After": "3600"}), Answer(body={"job_id": "7"}))
    assert api.compare({"a": "https://a.example/list.json"}) == "7"
    assert list_sent(library) == ["/run_similarity"] * 2


def test_a_service_that_stays_busy_is_an_error(api: Any, client: ModuleType, library: Library) -> None:
    library.answer("/models", Answer(503, BUSY, {"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}))
    with pytest.raises(client.Busy, match=r"The service is busy\."):
        api.list_models()
    assert len(library.asked) == 3


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", "ApiError"),
        (400, "missing_key", "WrongKey"),
        (403, "wrong_key", "WrongKey"),
        (404, "not_found", "NotFound"),
        (507, "no_space", "ApiError"),
    ],
)
def test_an_error_has_the_sentence_of_the_service(
    api: Any, client: ModuleType, library: Library, status: int, code: str, kind: str
) -> None:
    library.answer("/jobs/1", Answer(status, {"message": "What is wrong.", "code": code}))
    with pytest.raises(client.ClientError) as caught:
        api.fetch_job("1")
    error = caught.value
    assert type(error).__name__ == kind
    assert (error.status, error.code, error.message, str(error)) == (status, code, "What is wrong.", "What is wrong.")
    assert len(library.asked) == 1


@pytest.mark.parametrize(
    "answer", [Answer(502, "<h1>Bad Gateway</h1>"), Answer(200, "<h1>Hello</h1>"), Answer(200, [])]
)
def test_an_answer_without_an_object_is_an_error(
    api: Any, client: ModuleType, library: Library, answer: Answer
) -> None:
    library.answer("/run_detect", answer)
    with pytest.raises(client.ApiError, match=f"answered {answer.status} without JSON"):
        api.detect("https://a.example/manifest.json")


def test_a_redirect_does_not_get_the_key(api: Any, client: ModuleType, library: Library) -> None:
    library.answer("/models", Answer(302, "", {"Location": f"{library.url}/elsewhere"}))
    with pytest.raises(client.ApiError):
        api.list_models()
    assert list_sent(library) == ["/models"]


def test_only_a_request_that_changes_nothing_is_repeated(api: Any, client: ModuleType, library: Library) -> None:
    library.answer("/models", Answer(raw=b""), Answer(body={"m.pt": "today"}))
    library.answer("/run_detect", Answer(raw=b""), Answer(body={"job_id": "7"}))
    assert api.list_models() == {"m.pt": "today"}
    with pytest.raises(client.Unreachable, match="did not answer"):
        api.detect("https://a.example/manifest.json")
    assert list_sent(library) == ["/models", "/models", "/run_detect"]


def test_waiting_reports_the_progress_until_the_end(api: Any, library: Library) -> None:
    library.answer("/jobs/1", Answer(body=RUNNING), Answer(body=DONE))
    seen: list[str] = []
    assert api.wait("1", lambda job: seen.append(job["state"])) == DONE
    assert seen == ["running", "done"]


def test_waiting_raises_the_error_of_a_failed_job(api: Any, client: ModuleType, library: Library) -> None:
    library.answer("/jobs/1", Answer(body=FAILED))
    with pytest.raises(client.JobFailed, match=r"The manifest is gone\.") as caught:
        api.wait("1")
    assert caught.value.job == FAILED
    library.answer("/jobs/1", Answer(body=DONE | {"state": "cancelled", "error": None}))
    with pytest.raises(client.JobFailed, match="The job 1 is cancelled"):
        api.wait("1")


def test_waiting_ends_after_a_time(api: Any, library: Library) -> None:
    library.answer("/jobs/1", Answer(body=RUNNING))
    with pytest.raises(TimeoutError, match="still running"):
        api.wait("1", timeout=0.1)


def test_all_pages_of_scores_are_listed(api: Any, library: Library) -> None:
    path = "/jobs/1/scores/a%2Fb-c%3F?verdict=same&format=json&limit=1000&offset="
    library.answer(f"{path}0", Answer(body={"pairs": [{"score": 1}], "next": "/more"}))
    library.answer(f"{path}1000", Answer(body={"pairs": [{"score": 0.5}], "next": None}))
    assert [pair["score"] for pair in api.list_scores("1", "a/b", "c?", verdict="same")] == [1, 0.5]


def test_jobs_and_data_sets_are_managed(api: Any, library: Library) -> None:
    for path in ("/jobs/1/cancel", "/jobs/a%2F..%2Fb/retry"):
        library.answer(path, Answer(body={"message": "Done."}))
    library.answer("/jobs?state=done&limit=2", Answer(body={"jobs": [DONE]}))
    library.answer("/datasets", Answer(body={"datasets": [{"name": "eida"}]}))
    api.cancel("1")
    api.retry("a/../b")
    assert api.list_jobs(state="done", limit=2) == [DONE]
    assert api.list_datasets() == [{"name": "eida"}]


def test_a_long_search_is_waited_for(api: Any, library: Library, tmp_path: Path) -> None:
    library.answer("/search", Answer(body={"job_id": "1"}))
    library.answer("/jobs/1", Answer(body=DONE))
    library.answer("/jobs/1/matches", Answer(body={"matches": [{"score": 1}]}))
    image = tmp_path / "query.png"
    image.write_bytes(b"image")
    assert api.search(image, documents=["ms-1"], transpositions=["hflip"]) == [{"score": 1}]
    assert api.search("https://a.example/1.jpg") == [{"score": 1}]


def post_event(headers: dict[str, str], body: bytes, secret: str) -> tuple[int, Any]:
    """Send an event to the receiver of the example; return the status and the jobs that have finished for it."""
    with import_client("client_example").EventReceiver(0, secret) as receiver:
        thread = threading.Thread(target=receiver.handle_request)
        thread.start()
        answer = requests.post(f"http://127.0.0.1:{receiver.server_port}", data=body, headers=headers, timeout=10)
        thread.join()
        return answer.status_code, receiver.finished


def test_the_example_accepts_signed_events_only() -> None:
    secret, job = make_secret(), {"job_id": "1", "state": "done"}
    body = format_event("job.done", "2026-01-02T03:04:05Z", job).encode()
    now = int(time.time())
    assert post_event(build_headers("message", body, now, secret), body, secret) == (204, {"1": job})
    for headers in (
        build_headers("message", body, now, None),
        build_headers("message", body, now, make_secret()),
        build_headers("message", body, now - 310, secret),
        build_headers("message", body + b" ", now, secret),
        build_headers("message", body, now, secret) | {"webhook-timestamp": "now"},
    ):
        assert post_event(headers, body, secret) == (403, {})


def test_the_example_ignores_events_of_a_job_at_work() -> None:
    secret = make_secret()
    body = json.dumps({"type": "job.progress", "data": {"job_id": "1", "state": "running"}}).encode()
    headers = build_headers("message", body, int(time.time()), secret)
    assert post_event(headers, body, secret) == (204, {})
