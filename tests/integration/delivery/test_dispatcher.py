"""What client apps receive, and what they may do to a delivery."""

import email.utils
import json
import threading
import time

import pytest
from standardwebhooks import Webhook

from app.delivery.kinds import Kind
from app.delivery.outbox import RETRY_DELAYS
from app.delivery.payloads import Payload, make_secret
from app.demo.client_app import RecordingClientApp
from app.errors import ResultGone
from tests.integration.delivery.conftest import Deliver, Post
from tests.support.library import Answer, Library, redirect

Receiver = tuple[RecordingClientApp, str]


def test_the_annotation_file_arrives_as_the_contract_says(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    post.send(f"{url}/annotate", "ms-3")
    assert deliver()
    (received,) = receiver.received
    assert received.path == "/annotate/ms-3"
    assert received.fields == {"model": "best_04_2024", "experiment_id": "17"}
    assert received.files == {"annotation_file": ("ms-3.txt", b"1 a.jpg\n")}
    assert not deliver()


def test_a_client_app_without_a_secret_gets_the_request_of_old(
    post: Post, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    delivery = post.send(f"{url}/in")
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


def test_a_client_app_that_fails_three_times_gets_it_at_the_fourth_signed_each_time(
    post: Post, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.answers += [500, 500, 500]
    secret = make_secret()
    post.give_secret(secret)
    delivery = post.send(f"{url}/annotate")
    for tries in range(1, 5):
        assert deliver()
        delivery = post.look(delivery)
        assert (delivery.status, delivery.attempts) == ("delivered" if tries == 4 else "pending", tries)
        post.make_due()
    assert len(receiver.received) == 4
    assert {received.headers["Webhook-Id"] for received in receiver.received} == {delivery.id}
    for received in receiver.received:
        Webhook(secret).verify(received.body, received.headers, json_parse=False)
    history = [(attempt.http_status, attempt.error) for attempt in post.list_attempts(delivery)]
    assert history == [(500, f"{delivery.url} answered 500 INTERNAL SERVER ERROR.")] * 3 + [(200, None)]


def test_an_event_arrives_as_signed_json(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    secret = make_secret()
    post.give_secret(secret)
    post.send(f"{url}/news", kind=Kind.FAILED)
    deliver()
    (received,) = receiver.received
    assert (received.path, received.headers["Content-Type"]) == ("/news", "application/json")
    assert Webhook(secret).verify(received.body, received.headers) == json.loads(received.body)


def test_a_form_with_bytes_that_are_no_text_is_signed(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    post.give_secret(make_secret())
    post.payload = Payload(bytes(range(256)), "application/octet-stream")
    post.send(url)
    deliver()
    assert receiver.received[0].body == bytes(range(256))
    assert receiver.received[0].headers["Webhook-Signature"].startswith("v1,")


def test_a_client_app_that_hangs_meets_the_time_limit_and_the_try_is_recorded(post: Post, client_app: Receiver) -> None:
    receiver, url = client_app
    released = threading.Event()
    receiver.on_receive = lambda: released.wait(30)
    delivery = post.send(url)
    try:
        post.dispatcher(timeout=0.3).deliver_next()
    finally:
        released.set()
    (attempt,) = post.list_attempts(delivery)
    assert (attempt.http_status, attempt.error) == (None, f"{delivery.url} did not answer within 0.3 seconds.")
    assert post.look(delivery).status == "pending"


def test_a_client_app_that_trickles_meets_the_time_limit(post: Post, library: Library) -> None:
    url = library.answer("/x/job", Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000, trickle=True))
    delivery = post.send(url.removesuffix("/job"))
    post.dispatcher(timeout=0.3).deliver_next()
    assert "within 0.3 seconds" in (post.look(delivery).error or "")


def test_a_redirect_is_not_followed(post: Post, deliver: Deliver, library: Library) -> None:
    url = library.answer("/x/job", redirect("http://169.254.169.254/latest/meta-data"))
    delivery = post.send(url.removesuffix("/job"))
    deliver()
    assert library.paths == ["/x/job"]
    delivery = post.look(delivery)
    assert (delivery.status, delivery.http_status) == ("pending", 302)
    assert "redirects are not followed" in (delivery.error or "")


def test_what_cannot_be_shown_of_an_answer_is_left_out(post: Post, deliver: Deliver, library: Library) -> None:
    url = library.answer("/x/job", Answer(raw=b"HTTP/1.1 500 no\0 \x1b[1mroom\r\nContent-Length: 0\r\n\r\n"))
    delivery = post.send(url.removesuffix("/job"))
    deliver()
    assert post.look(delivery).error == f"{url} answered 500 no [1mroom."


def test_a_private_address_is_not_posted_to(post: Post, client_app: Receiver) -> None:
    receiver, url = client_app
    delivery = post.send(url)
    post.dispatcher(trusted=frozenset()).deliver_next()
    assert receiver.received == []
    assert "TRUSTED_HOSTS" in (post.look(delivery).error or "")


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_client_app_says_when_to_come_back(
    post: Post, deliver: Deliver, client_app: Receiver, status: int, form: str
) -> None:
    receiver, url = client_app
    asked = "7200" if form == "seconds" else email.utils.formatdate(time.time() + 7200, usegmt=True)
    receiver.answers.append((status, {"Retry-After": asked}))
    first, second = (post.send(url, job_id) for job_id in ("first", "second"))
    deliver()
    for delivery in (first, second):
        wait = (post.look(delivery).next_attempt or 0) - time.time()
        assert 7100 < wait <= 7200
    assert not deliver()


def test_nobody_is_left_alone_for_more_than_a_day(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers.append((503, {"Retry-After": "9999999"}))
    delivery = post.send(url)
    deliver()
    assert (post.look(delivery).next_attempt or 0) <= time.time() + 86400


def test_retry_after_of_another_answer_changes_nothing(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers.append((500, {"Retry-After": "7200"}))
    delivery = post.send(url)
    deliver()
    assert (post.look(delivery).next_attempt or 0) <= time.time() + RETRY_DELAYS[0]


def test_an_address_that_answers_410_is_not_posted_to_again(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers.append(410)
    waiting = [post.send(f"{url}/gone", job_id) for job_id in ("a", "b")]
    other = post.send(f"{url}/other", "c")
    assert deliver()
    assert post.look(waiting[1]).status == "disabled"  # at once, not when its turn comes
    waiting.append(post.send(f"{url}/gone", "d"))
    while deliver():
        pass
    assert [received.path for received in receiver.received] == ["/gone/a", "/other/c"]
    assert post.look(other).status == "delivered"
    for delivery in waiting:
        delivery = post.look(delivery)
        assert (delivery.status, delivery.next_attempt) == ("disabled", None)
        assert f"{url}/gone answered 410" in (delivery.error or "")
        assert "redeliver" in (delivery.error or "")


def test_a_closed_address_is_open_to_another_client_app(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers.append(410)
    post.send(url, "a", app_id=1)
    deliver()
    delivery = post.send(url, "b", app_id=2)
    deliver()
    assert post.look(delivery).status == "delivered"


def test_a_redelivery_opens_the_address_again_for_all_that_was_kept_from_it(
    post: Post, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.answers.append(410)
    for job_id in ("a", "b"):
        post.send(f"{url}/in", job_id)
    while deliver():
        pass
    assert post.outbox.redeliver("b") == 1
    while deliver():
        pass
    assert sorted(received.path for received in receiver.received[1:]) == ["/in/a", "/in/b"]
    post.send(f"{url}/in", "c")
    assert deliver()
    assert receiver.received[-1].path == "/in/c"


def test_what_has_arrived_is_not_sent_again(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    for _ in range(2):
        post.send(url)
        deliver()
    assert len(receiver.received) == 1


def test_a_redelivery_is_the_same_message(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    post.send(url)
    deliver()
    assert post.outbox.redeliver("job") == 1
    deliver()
    first, second = receiver.received
    assert first.headers["Webhook-Id"] == second.headers["Webhook-Id"]
    assert first.files == second.files


def test_a_redelivery_asked_for_during_a_try_is_made(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.on_receive = lambda: post.outbox.redeliver("job")
    delivery = post.send(url)
    deliver()
    receiver.on_receive = bool
    assert post.look(delivery).status == "pending"
    assert deliver()
    assert post.look(delivery).status == "delivered"
    assert len(post.list_attempts(delivery)) == 2


def test_tries_end_after_three_days(post: Post, deliver: Deliver) -> None:
    delivery = post.send("http://127.0.0.1:9")
    for _ in range(len(RETRY_DELAYS) + 1):
        assert deliver()
        post.make_due()
    delivery = post.look(delivery)
    assert (delivery.status, delivery.next_attempt) == ("failed", None)
    assert len(post.list_attempts(delivery)) == len(RETRY_DELAYS) + 1
    assert 70 < sum(RETRY_DELAYS) / 3600 < 76


def test_a_client_app_that_was_down_for_a_day_gets_it_afterwards(
    post: Post, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    tries = next(tries for tries in range(len(RETRY_DELAYS)) if sum(RETRY_DELAYS[:tries]) > 86400)
    receiver.answers += [503] * tries
    delivery = post.send(url)
    for _ in range(tries + 1):
        assert post.look(delivery).status == "pending"
        assert deliver()
        post.make_due()
    assert post.look(delivery).status == "delivered"


def test_how_far_a_job_is_is_tried_twice_only(post: Post, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    receiver.answers += [500] * 9
    delivery = post.send(f"{url}/news", kind=Kind.PROGRESS)
    while deliver():
        post.make_due()
    assert (post.look(delivery).status, len(receiver.received)) == ("failed", 2)


def test_a_result_that_is_gone_is_given_up_without_a_try(post: Post, client_app: Receiver) -> None:
    receiver, url = client_app

    def load(_: object) -> Payload:
        raise ResultGone("It is gone.")

    post.load = load  # type: ignore[method-assign]
    delivery = post.send(url)
    post.dispatcher().deliver_next()
    delivery = post.look(delivery)
    assert (delivery.status, delivery.error, receiver.received) == ("failed", "It is gone.", [])


def test_an_error_that_nobody_foresaw_is_a_try_that_failed(post: Post, client_app: Receiver) -> None:
    def load(_: object) -> Payload:
        raise PermissionError("secret details")

    post.load = load  # type: ignore[method-assign]
    delivery = post.send(client_app[1])
    post.dispatcher().deliver_next()
    delivery = post.look(delivery)
    assert (delivery.status, delivery.attempts) == ("pending", 1)
    assert delivery.error == "The server failed with PermissionError: its log has the details."
