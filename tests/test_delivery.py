from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from app.addresses import AddressGuard
from app.database import Database, Delivery, Job
from app.delivery import WAITS, Courier, build_annotation_parcel, build_annotation_url
from app.demo.client_app import ClientApp
from tests.library import Answer, Library, redirect

PARCEL = build_annotation_parcel("ms-3", b"1 a.jpg\n", "best_04_2024", "17")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    database.create_tables()
    with database.session() as session:
        session.add(Job(id="job", app_id=1, kind="detection", request={}))
    yield database
    database.close()


@pytest.fixture
def courier(database: Database) -> Courier:
    return Courier(database, AddressGuard(frozenset({"127.0.0.1"})), "extractorAPI/test", timeout=5)


def make_due(database: Database) -> None:
    with database.session() as session:
        session.execute(update(Delivery).values(next_attempt=0))


def look_up(database: Database, delivery: Delivery) -> Delivery:
    with database.session() as session:
        found = session.get(Delivery, delivery.id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("callback", "client_app", "expected"),
    [
        ("https://a.example/in/", "https://b.example", "https://a.example/in/ms-3"),
        ("", "https://b.example", "https://b.example/annotate/ms-3"),
        ("", "", ""),
    ],
)
def test_the_callback_goes_before_the_client_app(callback: str, client_app: str, expected: str) -> None:
    assert build_annotation_url(callback, client_app, "ms-3") == expected


def test_the_manifest_ref_is_one_path_part() -> None:
    assert build_annotation_url("https://a.example", "", "é?#") == "https://a.example/%C3%A9%3F%23"


def test_the_annotation_file_arrives_as_the_contract_says(courier: Courier, client_app: tuple[ClientApp, str]) -> None:
    receiver, url = client_app
    courier.attempt(courier.enlist("job", f"{url}/annotate/ms-3"), PARCEL)
    (received,) = receiver.received
    assert received.path == "/annotate/ms-3"
    assert received.fields == {"model": "best_04_2024", "experiment_id": "17"}
    assert received.files == {"annotation_file": ("ms-3.txt", b"1 a.jpg\n")}


def test_no_experiment_is_no_field() -> None:
    assert build_annotation_parcel("r", b"", "m", "").fields == {"model": "m"}


def test_a_client_app_that_fails_gets_it_later(
    database: Database, courier: Courier, client_app: tuple[ClientApp, str]
) -> None:
    receiver, url = client_app
    receiver.answers += [500, 503]
    delivery = courier.enlist("job", f"{url}/annotate/x")
    for attempts in (1, 2):
        courier.attempt(delivery, PARCEL)
        delivery = look_up(database, delivery)
        assert (delivery.status, delivery.attempts) == ("pending", attempts)
        assert "answered 50" in (delivery.error or "")
        make_due(database)
    courier.attempt(delivery, PARCEL)
    delivery = look_up(database, delivery)
    assert (delivery.status, delivery.attempts, delivery.next_attempt) == ("delivered", 3, None)
    assert len(receiver.received) == 3


def test_what_has_arrived_is_not_sent_again(courier: Courier, client_app: tuple[ClientApp, str]) -> None:
    receiver, url = client_app
    courier.attempt(courier.enlist("job", f"{url}/x"), PARCEL)
    again = courier.enlist("job", f"{url}/x")
    courier.attempt(again, PARCEL)
    assert len(receiver.received) == 1
    assert courier.find_due() == []


def test_redelivery_sends_it_again(courier: Courier, client_app: tuple[ClientApp, str]) -> None:
    receiver, url = client_app
    courier.attempt(courier.enlist("job", f"{url}/x"), PARCEL)
    assert courier.renew("job") == 1
    (due,) = courier.find_due()
    courier.attempt(due, PARCEL)
    assert len(receiver.received) == 2


def test_tries_end_after_three_days(database: Database, courier: Courier) -> None:
    delivery = courier.enlist("job", "http://127.0.0.1:9/x")
    for _ in range(len(WAITS) + 1):
        make_due(database)
        courier.attempt(look_up(database, delivery), PARCEL)
    delivery = look_up(database, delivery)
    assert (delivery.status, delivery.next_attempt) == ("failed", None)
    assert 70 < sum(WAITS) / 3600 < 76


def test_a_redirect_is_not_followed(database: Database, courier: Courier, library: Library) -> None:
    delivery = courier.enlist("job", library.answer("/x", redirect(f"{library.url}/y")))
    courier.attempt(delivery, PARCEL)
    assert library.paths == ["/x"]
    assert look_up(database, delivery).http_status == 302


def test_a_private_address_is_not_posted_to(database: Database, client_app: tuple[ClientApp, str]) -> None:
    receiver, url = client_app
    delivery = Courier(database, AddressGuard(), "test").enlist("job", f"{url}/x")
    Courier(database, AddressGuard(), "test").attempt(delivery, PARCEL)
    assert receiver.received == []
    assert "TRUSTED_HOSTS" in (look_up(database, delivery).error or "")


def test_a_job_has_one_delivery_to_an_address_however_often_it_is_enlisted(courier: Courier) -> None:
    with ThreadPoolExecutor(6) as executor:
        found = list(executor.map(lambda _: courier.enlist("job", "https://a.example/x").id, range(6)))
    assert len(set(found)) == 1


def test_a_redelivery_asked_for_during_a_try_is_made(
    database: Database, courier: Courier, client_app: tuple[ClientApp, str]
) -> None:
    receiver, url = client_app
    receiver.on_receive = lambda: courier.renew("job")
    delivery = courier.enlist("job", f"{url}/x")
    courier.attempt(delivery, PARCEL)
    receiver.on_receive = lambda: None
    assert [due.id for due in courier.find_due()] == [delivery.id]
    courier.attempt(look_up(database, delivery), PARCEL)
    assert look_up(database, delivery).status == "delivered"


def test_a_client_app_that_trickles_meets_the_deadline(database: Database, library: Library) -> None:
    url = library.answer("/x", Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000, trickle=True))
    courier = Courier(database, AddressGuard(frozenset({"127.0.0.1"})), "test", timeout=0.3)
    delivery = courier.enlist("job", url)
    courier.attempt(delivery, PARCEL)
    assert "within 0.3 seconds" in (look_up(database, delivery).error or "")


def test_a_result_that_is_gone_is_given_up(database: Database, courier: Courier) -> None:
    delivery = courier.enlist("job", "https://a.example/x")
    courier.give_up("job", "It is gone.")
    assert (look_up(database, delivery).status, look_up(database, delivery).error) == ("failed", "It is gone.")
    assert courier.find_due() == []


@pytest.mark.parametrize("answer", [200, 500])
def test_a_newer_result_of_a_job_is_another_delivery_whatever_became_of_the_older(
    courier: Courier, client_app: tuple[ClientApp, str], answer: int
) -> None:
    receiver, url = client_app[0], f"{client_app[1]}/in"
    receiver.answers.append(answer)
    first = courier.enlist("job", url)
    courier.attempt(first, PARCEL)
    courier.renew("job")  # asked for while the retry ran: it sends the older result
    second = courier.enlist("job", url, result=1)
    assert second.id != first.id
    assert (second.status, second.attempts) == ("pending", 0)
    courier.attempt(second, PARCEL)
    assert len(receiver.received) == 2
    assert courier.enlist("job", url, result=1).status == "delivered"
