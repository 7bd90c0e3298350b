"""Requests that client apps receive, and the effects of their answers on deliveries."""

import email.utils
import json
import re
import threading
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from app.delivery.kinds import Kind
from app.delivery.outbox import RETRY_DELAYS
from app.delivery.payloads import Payload, make_secret
from app.demo.client_app import RecordingClientApp
from app.errors import ResultGone
from tests.integration.delivery.conftest import Deliver, Harness
from tests.support.library import Answer, Library, redirect

Receiver = tuple[RecordingClientApp, str]


def test_the_annotation_file_arrives_as_a_form(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    harness.enqueue(f"{url}/annotate", "ms-3")
    assert deliver()
    (received,) = receiver.received
    assert received.path == "/annotate/ms-3"
    assert received.fields == {"model": "best_04_2024", "experiment_id": "17"}
    assert received.files == {"annotation_file": ("ms-3.txt", b"1 a.jpg\n")}
    assert not deliver()


def test_a_callback_with_spaces_and_accents_is_encoded(harness: Harness, deliver: Deliver, library: Library) -> None:
    library.answer("/%C3%A9%20a%2fb/ms-3", Answer())
    delivery = harness.enqueue(f"{library.url}/é a%2fb", "ms-3")
    deliver()
    assert library.paths == ["/%C3%A9%20a%2fb/ms-3"]
    assert harness.reload(delivery).status == "delivered"


def test_a_client_app_without_a_secret_gets_an_unsigned_request(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    delivery = harness.enqueue(f"{url}/in")
    deliver()
    headers = {name.lower(): value for name, value in receiver.received[0].headers.items()}
    assert headers.pop("webhook-id") == delivery.id
    assert headers.keys() == {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    }


def test_every_attempt_is_signed_until_the_fourth_succeeds(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.answers += [500, 500, 500]
    secret = make_secret()
    harness.add_secret(secret)
    delivery = harness.enqueue(f"{url}/annotate")
    for tries in range(1, 5):
        assert deliver()
        delivery = harness.reload(delivery)
        assert (delivery.status, delivery.attempts) == ("delivered" if tries == 4 else "pending", tries)
        harness.make_due()
    assert len(receiver.received) == 4
    assert {received.headers["Webhook-Id"] for received in receiver.received} == {delivery.id}
    for received in receiver.received:
        Webhook(secret).verify(received.body, received.headers, json_parse=False)
    history = [(attempt.http_status, attempt.error) for attempt in harness.list_attempts(delivery)]
    assert history == [(500, f"{delivery.url} answered 500 INTERNAL SERVER ERROR.")] * 3 + [(200, None)]


def test_an_event_arrives_as_signed_json(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    secret = make_secret()
    harness.add_secret(secret)
    harness.enqueue(f"{url}/news", kind=Kind.FAILED)
    deliver()
    (received,) = receiver.received
    assert (received.path, received.headers["Content-Type"]) == ("/news", "application/json")
    assert Webhook(secret).verify(received.body, received.headers) == json.loads(received.body)


def test_a_binary_body_is_signed(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    harness.add_secret(make_secret())
    harness.payload = Payload(bytes(range(256)), "application/octet-stream")
    harness.enqueue(url)
    deliver()
    assert receiver.received[0].body == bytes(range(256))
    assert receiver.received[0].headers["Webhook-Signature"].startswith("v1,")


def test_an_attempt_at_a_hanging_client_app_times_out_and_is_recorded(harness: Harness, client_app: Receiver) -> None:
    receiver, url = client_app
    released = threading.Event()
    receiver.on_receive = lambda: released.wait(30)
    delivery = harness.enqueue(url)
    try:
        harness.dispatcher(timeout=0.3).deliver_next()
    finally:
        released.set()
    (attempt,) = harness.list_attempts(delivery)
    assert (attempt.http_status, attempt.error) == (None, f"{delivery.url} did not answer within 0.3 seconds.")
    assert harness.reload(delivery).status == "pending"


def test_an_attempt_at_a_trickling_client_app_times_out(harness: Harness, library: Library) -> None:
    url = library.answer("/x/job", Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000, trickle=True))
    delivery = harness.enqueue(url.removesuffix("/job"))
    harness.dispatcher(timeout=0.3).deliver_next()
    assert "within 0.3 seconds" in (harness.reload(delivery).error or "")


def test_a_redirect_is_not_followed(harness: Harness, deliver: Deliver, library: Library) -> None:
    """Django redirects to add a slash, and a POST becomes a GET: https://github.com/fanout/webhookinbox/issues/13"""
    url = library.answer("/x/job", redirect("http://169.254.169.254/latest/meta-data"))
    delivery = harness.enqueue(url.removesuffix("/job"))
    deliver()
    assert library.paths == ["/x/job"]
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.http_status) == ("pending", 302)
    assert "redirects are not followed" in (delivery.error or "")


def test_control_characters_of_an_answer_are_removed(harness: Harness, deliver: Deliver, library: Library) -> None:
    url = library.answer("/x/job", Answer(raw=b"HTTP/1.1 500 no\0 \x1b[1mroom\r\nContent-Length: 0\r\n\r\n"))
    delivery = harness.enqueue(url.removesuffix("/job"))
    deliver()
    assert harness.reload(delivery).error == f"{url} answered 500 no [1mroom."


def test_a_client_app_may_have_a_certificate_of_its_institution(
    harness: Harness, tls_url: str, certificate: Path
) -> None:
    delivery, trusted = harness.enqueue(tls_url.replace("library.example", "localhost")), frozenset({"localhost"})
    assert harness.dispatcher(trusted=trusted).deliver_next()
    assert re.search(r"has no valid TLS certificate .* CA_BUNDLE", harness.reload(delivery).error or "")
    harness.make_due()
    assert harness.dispatcher(trusted=trusted, ca_bundle=certificate).deliver_next()
    assert harness.reload(delivery).status == "delivered"


def test_a_private_address_is_not_posted_to(harness: Harness, client_app: Receiver) -> None:
    receiver, url = client_app
    delivery = harness.enqueue(url)
    harness.dispatcher(trusted=frozenset()).deliver_next()
    assert receiver.received == []
    assert "TRUSTED_HOSTS" in (harness.reload(delivery).error or "")


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_postpones_all_deliveries_to_the_endpoint(
    harness: Harness, deliver: Deliver, client_app: Receiver, status: int, form: str
) -> None:
    receiver, url = client_app
    asked = "7200" if form == "seconds" else email.utils.formatdate(time.time() + 7200, usegmt=True)
    receiver.answers.append((status, {"Retry-After": asked}))
    first, second = (harness.enqueue(url, job_id) for job_id in ("first", "second"))
    deliver()
    for delivery in (first, second):
        wait = (harness.reload(delivery).next_attempt or 0) - time.time()
        assert 7100 < wait <= 7200
    assert not deliver()


def test_retry_after_is_limited_to_one_day(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers.append((503, {"Retry-After": "9999999"}))
    delivery = harness.enqueue(url)
    deliver()
    assert (harness.reload(delivery).next_attempt or 0) <= time.time() + 86400


def test_retry_after_of_other_statuses_is_ignored(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers.append((500, {"Retry-After": "7200"}))
    delivery = harness.enqueue(url)
    deliver()
    assert (harness.reload(delivery).next_attempt or 0) <= time.time() + RETRY_DELAYS[0]


def test_an_endpoint_that_answers_410_gets_no_more_requests(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.answers.append(410)
    waiting = [harness.enqueue(f"{url}/gone", job_id) for job_id in ("a", "b")]
    other = harness.enqueue(f"{url}/other", "c")
    assert deliver()
    assert harness.reload(waiting[1]).status == "disabled"  # immediately, not when it is due
    waiting.append(harness.enqueue(f"{url}/gone", "d"))
    while deliver():
        pass
    assert [received.path for received in receiver.received] == ["/gone/a", "/other/c"]
    assert harness.reload(other).status == "delivered"
    for delivery in waiting:
        delivery = harness.reload(delivery)
        assert (delivery.status, delivery.next_attempt) == ("disabled", None)
        assert f"{url}/gone answered 410" in (delivery.error or "")
        assert "redeliver" in (delivery.error or "")


def test_an_endpoint_is_closed_only_for_the_client_app_that_got_410(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.answers.append(410)
    harness.enqueue(url, "a", app_id=1)
    deliver()
    delivery = harness.enqueue(url, "b", app_id=2)
    deliver()
    assert harness.reload(delivery).status == "delivered"


def test_a_delivery_fails_after_three_days_of_attempts(harness: Harness, deliver: Deliver) -> None:
    delivery = harness.enqueue("http://127.0.0.1:9")
    for _ in range(len(RETRY_DELAYS) + 1):
        assert deliver()
        harness.make_due()
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.next_attempt) == ("failed", None)
    assert len(harness.list_attempts(delivery)) == len(RETRY_DELAYS) + 1
    assert 70 < sum(RETRY_DELAYS) / 3600 < 76


def test_a_client_app_that_is_down_for_a_day_gets_the_result_afterwards(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    tries = next(tries for tries in range(len(RETRY_DELAYS)) if sum(RETRY_DELAYS[:tries]) > 86400)
    receiver.answers += [503] * tries
    delivery = harness.enqueue(url)
    for _ in range(tries + 1):
        assert harness.reload(delivery).status == "pending"
        assert deliver()
        harness.make_due()
    assert harness.reload(delivery).status == "delivered"


def test_a_progress_event_gets_two_attempts(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers += [500] * 9
    delivery = harness.enqueue(f"{url}/news", kind=Kind.PROGRESS)
    while deliver():
        harness.make_due()
    assert (harness.reload(delivery).status, len(receiver.received)) == ("failed", 2)


def test_a_removed_result_fails_without_an_attempt(harness: Harness, client_app: Receiver) -> None:
    receiver, url = client_app

    def load(_: object) -> Payload:
        raise ResultGone("It is gone.")

    harness.load_payload = load  # type: ignore[method-assign]
    delivery = harness.enqueue(url)
    harness.dispatcher().deliver_next()
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.error, receiver.received) == ("failed", "It is gone.", [])


def test_an_unexpected_error_is_a_failed_attempt(harness: Harness, client_app: Receiver) -> None:
    def load(_: object) -> Payload:
        raise PermissionError("secret details")

    harness.load_payload = load  # type: ignore[method-assign]
    delivery = harness.enqueue(client_app[1])
    harness.dispatcher().deliver_next()
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.attempts) == ("pending", 1)
    assert delivery.error == "The server failed with PermissionError: its log has the details."
