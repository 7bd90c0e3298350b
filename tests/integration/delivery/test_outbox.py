"""The outbox: order, leases, suspended endpoints, superseded results and redelivery."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select, update

from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind
from app.delivery.outbox import ALL_DELIVERIES, APP_DELIVERIES, LONGEST_PAUSE, Outcome, enqueue
from app.delivery.payloads import Destination
from tests.integration.delivery.conftest import Harness

BASE = "https://a.example/in"
TAKEN = Outcome(200, None, None, 0.1)
FAILED = Outcome(500, "It answered 500.", None, 0.1)
SILENT = Outcome(None, "It did not answer.", None, 20)


def claim(harness: Harness) -> Delivery:
    delivery = harness.outbox.lease_next(60)
    assert delivery is not None
    return delivery


def test_a_repeated_stage_enqueues_once(harness: Harness) -> None:
    first, second = harness.enqueue(BASE), harness.enqueue(BASE)
    assert first.id == second.id
    assert len(harness.find()) == 1


def test_a_transaction_that_fails_enqueues_nothing(harness: Harness) -> None:
    def change() -> None:
        with harness.database.session() as session:
            job = Job(id="lost", app_id=1, kind="detection", request={}, retries=0)
            session.add(job)
            enqueue(session, job, Kind.FAILED, Destination(BASE, BASE), "{}")
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        change()
    assert harness.find("lost") == []


def test_a_delivery_is_leased_by_one_dispatcher_at_a_time(harness: Harness) -> None:
    for number in range(3):
        harness.enqueue(BASE, f"job{number}")
    with ThreadPoolExecutor(6) as executor:
        claimed = [
            delivery.id for delivery in executor.map(lambda _: harness.outbox.lease_next(60), range(6)) if delivery
        ]
    assert len(claimed) == len(set(claimed)) == 3


def test_a_delivery_is_due_again_when_the_lease_of_a_dead_dispatcher_ends(harness: Harness) -> None:
    delivery = harness.enqueue(BASE)
    claim(harness)
    assert harness.outbox.lease_next(60) is None
    harness.make_due()  # the lease has ended
    again = claim(harness)
    assert (again.id, again.attempts) == (delivery.id, 0)


def test_the_attempts_for_one_client_app_are_limited(harness: Harness) -> None:
    for number in range(APP_DELIVERIES + 3):
        harness.enqueue(BASE, f"many{number}", app_id=1)
    harness.enqueue("https://b.example", "one", app_id=2)
    taken = [claim(harness) for _ in range(APP_DELIVERIES + 1)]
    assert sorted(delivery.app_id for delivery in taken) == [1] * APP_DELIVERIES + [2]
    assert harness.outbox.lease_next(60) is None
    first = next(delivery for delivery in taken if delivery.app_id == 1)
    harness.outbox.record(first, TAKEN)
    assert claim(harness).app_id == 1


def test_the_attempts_for_all_client_apps_are_limited(harness: Harness) -> None:
    for app_id in range(1, 6):
        for number in range(APP_DELIVERIES):
            harness.enqueue(BASE, f"{app_id}-{number}", app_id)
    taken = [claim(harness) for _ in range(ALL_DELIVERIES)]
    assert harness.outbox.lease_next(60) is None
    harness.outbox.record(taken[0], TAKEN)
    assert claim(harness).app_id != taken[0].app_id


def test_leases_from_before_the_clock_was_set_back_do_not_count(harness: Harness) -> None:
    for number in range(APP_DELIVERIES):
        harness.enqueue(BASE, f"earlier{number}")
        harness.outbox.record(claim(harness), TAKEN)
    with harness.database.session() as session:
        session.execute(update(Delivery).values(leased_until=time.time() + 3600))
    new = harness.enqueue(BASE, "new")
    assert claim(harness).id == new.id


def test_the_least_recently_served_client_app_comes_first(harness: Harness) -> None:
    for app_id in (1, 2, 3):
        for number in range(2):
            harness.enqueue(f"https://{app_id}.example", f"{app_id}-{number}", app_id=app_id)
    served = []
    for _ in range(6):
        delivery = claim(harness)
        served.append(delivery.app_id)
        harness.outbox.record(delivery, TAKEN)
    assert sorted(served[:3]) == [1, 2, 3]
    assert served[3:] == served[:3]


def test_all_deliveries_to_an_endpoint_that_does_not_answer_are_postponed(harness: Harness) -> None:
    first, *others = (harness.enqueue(BASE, f"job{number}") for number in range(5))
    elsewhere = harness.enqueue("https://b.example", "elsewhere")
    delivery = claim(harness)
    assert delivery.id == first.id
    harness.outbox.record(delivery, SILENT)
    assert claim(harness).id == elsewhere.id
    assert harness.outbox.lease_next(60) is None
    for other in others:
        assert 0 < (harness.reload(other).next_attempt or 0) - time.time() <= LONGEST_PAUSE


def test_an_endpoint_that_answers_500_still_gets_other_deliveries(harness: Harness) -> None:
    first, second = (harness.enqueue(BASE, f"job{number}") for number in range(2))
    harness.outbox.record(claim(harness), FAILED)
    assert (harness.reload(first).attempts, claim(harness).id) == (1, second.id)


@pytest.mark.parametrize("outcome", [TAKEN, FAILED])
def test_a_newer_result_supersedes_a_pending_one(harness: Harness, outcome: Outcome) -> None:
    first = harness.enqueue(BASE)
    harness.outbox.record(claim(harness), outcome)
    second = harness.enqueue(BASE, retries=1)
    assert second.id != first.id
    assert harness.reload(first).status == ("delivered" if outcome is TAKEN else "superseded")
    assert claim(harness).id == second.id
    assert harness.outbox.lease_next(60) is None


def test_an_outdated_result_is_not_redelivered(harness: Harness) -> None:
    first = harness.enqueue(BASE)
    harness.enqueue(BASE, retries=1)
    assert harness.outbox.redeliver("job") == 1
    assert harness.reload(first).status == "superseded"


def test_an_outdated_disabled_result_is_not_sent_when_the_endpoint_reopens(harness: Harness) -> None:
    first = harness.enqueue(BASE)
    harness.outbox.record(claim(harness), Outcome(410, "gone", None, 0.1))
    second = harness.enqueue(BASE, retries=1)
    assert harness.outbox.lease_next(60) is None
    harness.outbox.redeliver("job")
    assert harness.reload(first).status == "superseded"
    assert claim(harness).id == second.id


def test_a_delivery_held_back_during_an_attempt_stays_held_back(harness: Harness) -> None:
    delivery = harness.enqueue(BASE)
    claimed = claim(harness)
    with harness.database.session() as session:
        session.execute(update(Delivery).values(next_attempt=None))
    harness.outbox.record(claimed, FAILED)
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.next_attempt, len(harness.list_attempts(delivery))) == ("pending", None, 1)


def test_the_outcome_of_an_event_replaced_during_the_attempt_is_dropped(harness: Harness) -> None:
    harness.enqueue(BASE, kind=Kind.PROGRESS)
    claimed = claim(harness)
    with harness.database.session() as session:
        session.delete(session.get_one(Delivery, claimed.id))
    harness.outbox.record(claimed, FAILED)
    assert harness.find() == []


def test_due_deliveries_are_counted_up_to_a_limit(harness: Harness) -> None:
    for number in range(5):
        harness.enqueue(BASE, f"job{number}")
    assert [harness.outbox.count_due(most) for most in (2, 100)] == [2, 5]
    claim(harness)
    assert harness.outbox.count_due(100) == 4


def test_a_new_delivery_to_a_paused_endpoint_waits(harness: Harness) -> None:
    harness.enqueue(BASE, "first")
    harness.outbox.record(claim(harness), Outcome(429, "It answered 429.", 7200, 0.1))
    later = harness.enqueue(BASE, "later")
    assert 7100 < (later.next_attempt or 0) - time.time() <= 7200
    assert harness.outbox.lease_next(60) is None
    harness.enqueue(BASE, "other app", app_id=2)
    assert claim(harness).app_id == 2


def test_a_delivery_that_becomes_due_during_a_pause_is_postponed(harness: Harness) -> None:
    harness.enqueue(BASE, "first")
    harness.outbox.record(claim(harness), Outcome(429, "It answered 429.", 7200, 0.1))
    with harness.database.session() as session:
        session.execute(update(Delivery).values(next_attempt=0.0))  # as a failed retry of the job does
    assert harness.outbox.lease_next(60) is None
    (delivery,) = harness.find("first")
    assert 7100 < (delivery.next_attempt or 0) - time.time() <= 7200


def test_a_redelivery_ends_the_pause_of_an_endpoint(harness: Harness) -> None:
    harness.enqueue(BASE)
    harness.outbox.record(claim(harness), Outcome(503, "It answered 503.", 80000, 0.1))
    harness.outbox.redeliver("job")
    assert claim(harness).attempts == 0


def test_a_success_ends_the_pause_of_an_endpoint(harness: Harness) -> None:
    for number in range(3):
        harness.enqueue(BASE, f"job{number}")
    silent, good, waiting = claim(harness), claim(harness), claim(harness)
    harness.outbox.record(silent, SILENT)
    harness.outbox.record(good, TAKEN)
    harness.outbox.record(waiting, TAKEN)
    assert (harness.enqueue(BASE, "next").next_attempt or 0) <= time.time()


def test_a_closed_endpoint_disables_thousands_of_deliveries_together(harness: Harness) -> None:
    with harness.database.session() as session:
        session.add_all(Job(id=f"{n:04}", app_id=1, kind="detection", request={}, retries=0) for n in range(2000))
        session.flush()
        for job in session.scalars(select(Job)):
            enqueue(session, job, Kind.RESULT, Destination(f"{BASE}/{job.id}", BASE))
    claimed = claim(harness)
    harness.outbox.record(claimed, Outcome(410, "gone", None, 0.1))
    with harness.database.session() as session:
        assert session.scalars(select(Delivery.status).distinct()).all() == ["disabled"]
        session.execute(update(Delivery).values(status="pending", next_attempt=0.0))  # make them due again
    statements: list[str] = []
    event.listen(harness.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert harness.outbox.lease_next(60) is None
    assert len(statements) < 20


def test_progress_events_for_a_closed_endpoint_are_dropped(harness: Harness) -> None:
    harness.enqueue(BASE, kind=Kind.PROGRESS)
    harness.outbox.record(claim(harness), Outcome(410, "gone", None, 0.1))
    for _ in range(5):
        harness.enqueue(BASE, kind=Kind.PROGRESS)
    assert [delivery.status for delivery in harness.find()] == ["disabled"]


def test_progress_events_have_different_ids(harness: Harness) -> None:
    first = harness.enqueue(BASE, kind=Kind.PROGRESS)
    assert harness.enqueue(BASE, kind=Kind.PROGRESS).id != first.id


@pytest.mark.parametrize("status", ["pending", "cancelled", "superseded"])
def test_a_success_counts_whatever_changed_during_the_attempt(harness: Harness, status: str) -> None:
    delivery = harness.enqueue(BASE)
    claimed = claim(harness)
    with harness.database.session() as session:
        session.execute(update(Delivery).values(status=status, next_attempt=None))
    harness.outbox.record(claimed, TAKEN)
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.attempts, delivery.http_status) == ("delivered", 1, 200)


@pytest.mark.parametrize("status", ["pending", "cancelled", "superseded"])
def test_a_failed_attempt_is_counted_but_keeps_the_new_status(harness: Harness, status: str) -> None:
    delivery = harness.enqueue(BASE)
    claimed = claim(harness)
    with harness.database.session() as session:
        session.execute(update(Delivery).values(status=status, next_attempt=None))
    harness.outbox.record(claimed, FAILED)
    delivery = harness.reload(delivery)
    assert (delivery.status, delivery.next_attempt, delivery.attempts) == (status, None, 1)
    assert delivery.error == "It answered 500."


def test_a_redelivery_sends_the_newest_result_and_end_event(harness: Harness) -> None:
    for retries, kinds in ((0, (Kind.RESULT, Kind.DONE)), (1, (Kind.FAILED,))):
        for kind in kinds:
            harness.enqueue(BASE, retries=retries, kind=kind)
            harness.outbox.record(claim(harness), TAKEN)
    assert harness.outbox.redeliver("job") == 2
    assert {delivery.kind: delivery.status for delivery in harness.find()} == {
        "result": "pending",
        "job.done": "delivered",
        "job.failed": "pending",
    }


def test_a_new_end_event_supersedes_a_pending_older_one(harness: Harness) -> None:
    harness.enqueue(BASE, kind=Kind.FAILED)
    harness.enqueue(BASE, retries=1, kind=Kind.DONE)
    assert {delivery.kind: delivery.status for delivery in harness.find()} == {
        "job.failed": "superseded",
        "job.done": "pending",
    }
