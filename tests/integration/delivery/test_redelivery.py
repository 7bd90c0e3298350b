"""Redeliveries that client apps request, as client apps receive them."""

from app.demo.client_app import RecordingClientApp
from tests.integration.delivery.conftest import Deliver, Harness

Receiver = tuple[RecordingClientApp, str]


def test_a_redelivery_reopens_the_endpoint_for_all_disabled_deliveries(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.answers.append(410)
    for job_id in ("a", "b"):
        harness.enqueue(f"{url}/in", job_id)
    while deliver():
        pass
    assert harness.outbox.redeliver("b") == 1
    while deliver():
        pass
    assert sorted(received.path for received in receiver.received[1:]) == ["/in/a", "/in/b"]
    harness.enqueue(f"{url}/in", "c")
    assert deliver()
    assert receiver.received[-1].path == "/in/c"


def test_a_delivered_result_is_not_sent_again(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    for _ in range(2):
        harness.enqueue(url)
        deliver()
    assert len(receiver.received) == 1


def test_a_redelivery_has_the_same_id_and_content(harness: Harness, deliver: Deliver, client_app: Receiver) -> None:
    receiver, url = client_app
    harness.enqueue(url)
    deliver()
    assert harness.outbox.redeliver("job") == 1
    deliver()
    first, second = receiver.received
    assert first.headers["Webhook-Id"] == second.headers["Webhook-Id"]
    assert first.files == second.files


def test_a_redelivery_requested_during_an_attempt_takes_place(
    harness: Harness, deliver: Deliver, client_app: Receiver
) -> None:
    receiver, url = client_app
    receiver.on_receive = lambda: harness.outbox.redeliver("job")
    delivery = harness.enqueue(url)
    deliver()
    receiver.on_receive = bool
    assert harness.reload(delivery).status == "pending"
    assert deliver()
    assert harness.reload(delivery).status == "delivered"
    assert len(harness.list_attempts(delivery)) == 2
