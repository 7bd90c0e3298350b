"""Whose turn it is, and what a second message, a dead courier or a newer result changes."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select, update

from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind
from app.delivery.outbox import ALL_DELIVERIES, APP_DELIVERIES, LONGEST_PAUSE, Outcome, enqueue
from app.delivery.payloads import Destination
from tests.integration.delivery.conftest import Post

BASE = "https://a.example/in"
TAKEN = Outcome(200, None, None, 0.1)
FAILED = Outcome(500, "It answered 500.", None, 0.1)
SILENT = Outcome(None, "It did not answer.", None, 20)


def claim(post: Post) -> Delivery:
    delivery = post.outbox.lease_next(60)
    assert delivery is not None
    return delivery


def test_a_stage_that_runs_twice_enqueues_once(post: Post) -> None:
    first, second = post.send(BASE), post.send(BASE)
    assert first.id == second.id
    assert len(post.find()) == 1


def test_what_version_1_0_has_enqueued_is_not_enqueued_again(post: Post) -> None:
    post.send(BASE)
    with post.database.session() as session:
        session.execute(update(Delivery).values(id="chance", status="delivered"))
    assert post.send(BASE).id == "chance"


def test_a_change_that_fails_tells_nothing(post: Post) -> None:
    def change() -> None:
        with post.database.session() as session:
            job = Job(id="lost", app_id=1, kind="detection", request={}, retries=0)
            session.add(job)
            enqueue(session, job, Kind.FAILED, Destination(BASE, BASE), "{}")
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        change()
    assert post.find("lost") == []


def test_a_delivery_is_tried_by_one_courier_at_a_time(post: Post) -> None:
    for number in range(3):
        post.send(BASE, f"job{number}")
    with ThreadPoolExecutor(6) as executor:
        claimed = [delivery.id for delivery in executor.map(lambda _: post.outbox.lease_next(60), range(6)) if delivery]
    assert len(claimed) == len(set(claimed)) == 3


def test_a_courier_that_dies_in_the_middle_leaves_nothing_for_ever(post: Post) -> None:
    delivery = post.send(BASE)
    claim(post)
    assert post.outbox.lease_next(60) is None
    post.make_due()  # the time for which it was reserved has passed
    again = claim(post)
    assert (again.id, again.attempts) == (delivery.id, 0)


def test_one_client_app_does_not_take_every_courier(post: Post) -> None:
    for number in range(APP_DELIVERIES + 3):
        post.send(BASE, f"many{number}", app_id=1)
    post.send("https://b.example", "one", app_id=2)
    taken = [claim(post) for _ in range(APP_DELIVERIES + 1)]
    assert sorted(delivery.app_id for delivery in taken) == [1] * APP_DELIVERIES + [2]
    assert post.outbox.lease_next(60) is None
    first = next(delivery for delivery in taken if delivery.app_id == 1)
    post.outbox.record(first, TAKEN)
    assert claim(post).app_id == 1


def test_client_apps_that_hang_leave_threads_for_what_is_no_delivery(post: Post) -> None:
    for app_id in range(1, 6):
        for number in range(APP_DELIVERIES):
            post.send(BASE, f"{app_id}-{number}", app_id)
    taken = [claim(post) for _ in range(ALL_DELIVERIES)]
    assert post.outbox.lease_next(60) is None
    post.outbox.record(taken[0], TAKEN)
    assert claim(post).app_id != taken[0].app_id


def test_a_clock_that_was_set_back_keeps_no_courier_away(post: Post) -> None:
    for number in range(APP_DELIVERIES):
        post.send(BASE, f"earlier{number}")
        post.outbox.record(claim(post), TAKEN)
    with post.database.session() as session:
        session.execute(update(Delivery).values(leased_until=time.time() + 3600))
    new = post.send(BASE, "new")
    assert claim(post).id == new.id


def test_the_client_app_that_was_served_least_recently_goes_first(post: Post) -> None:
    for app_id in (1, 2, 3):
        for number in range(2):
            post.send(f"https://{app_id}.example", f"{app_id}-{number}", app_id=app_id)
    served = []
    for _ in range(6):
        delivery = claim(post)
        served.append(delivery.app_id)
        post.outbox.record(delivery, TAKEN)
    assert sorted(served[:3]) == [1, 2, 3]
    assert served[3:] == served[:3]


def test_an_address_that_does_not_answer_is_left_alone_by_all_that_waits_for_it(post: Post) -> None:
    first, *others = (post.send(BASE, f"job{number}") for number in range(5))
    elsewhere = post.send("https://b.example", "elsewhere")
    delivery = claim(post)
    assert delivery.id == first.id
    post.outbox.record(delivery, SILENT)
    assert claim(post).id == elsewhere.id
    assert post.outbox.lease_next(60) is None
    for other in others:
        assert 0 < (post.look(other).next_attempt or 0) - time.time() <= LONGEST_PAUSE


def test_an_address_that_answers_badly_is_asked_for_the_others(post: Post) -> None:
    first, second = (post.send(BASE, f"job{number}") for number in range(2))
    post.outbox.record(claim(post), FAILED)
    assert (post.look(first).attempts, claim(post).id) == (1, second.id)


@pytest.mark.parametrize("outcome", [TAKEN, FAILED])
def test_a_newer_result_takes_the_place_of_one_that_has_not_arrived(post: Post, outcome: Outcome) -> None:
    first = post.send(BASE)
    post.outbox.record(claim(post), outcome)
    second = post.send(BASE, retries=1)
    assert second.id != first.id
    assert post.look(first).status == ("delivered" if outcome is TAKEN else "superseded")
    assert claim(post).id == second.id
    assert post.outbox.lease_next(60) is None


def test_a_result_that_is_out_of_date_is_not_sent_again(post: Post) -> None:
    first = post.send(BASE)
    post.send(BASE, retries=1)
    assert post.outbox.redeliver("job") == 1
    assert post.look(first).status == "superseded"


def test_an_old_result_kept_from_a_closed_address_is_not_sent_when_it_opens(post: Post) -> None:
    first = post.send(BASE)
    post.outbox.record(claim(post), Outcome(410, "gone", None, 0.1))
    second = post.send(BASE, retries=1)
    assert post.outbox.lease_next(60) is None
    post.outbox.redeliver("job")
    assert post.look(first).status == "superseded"
    assert claim(post).id == second.id


def test_what_was_held_back_during_a_try_stays_held_back(post: Post) -> None:
    delivery = post.send(BASE)
    claimed = claim(post)
    with post.database.session() as session:
        session.execute(update(Delivery).values(next_attempt=None))
    post.outbox.record(claimed, FAILED)
    delivery = post.look(delivery)
    assert (delivery.status, delivery.next_attempt, len(post.list_attempts(delivery))) == ("pending", None, 1)


def test_an_event_that_was_replaced_during_a_try_leaves_no_trace(post: Post) -> None:
    post.send(BASE, kind=Kind.PROGRESS)
    claimed = claim(post)
    with post.database.session() as session:
        session.delete(session.get_one(Delivery, claimed.id))
    post.outbox.record(claimed, FAILED)
    assert post.find() == []


def test_what_is_due_is_counted_up_to_a_bound(post: Post) -> None:
    for number in range(5):
        post.send(BASE, f"job{number}")
    assert [post.outbox.count_due(most) for most in (2, 100)] == [2, 5]
    claim(post)
    assert post.outbox.count_due(100) == 4


def test_what_is_enqueued_while_an_address_rests_waits_too(post: Post) -> None:
    post.send(BASE, "first")
    post.outbox.record(claim(post), Outcome(429, "It answered 429.", 7200, 0.1))
    later = post.send(BASE, "later")
    assert 7100 < (later.next_attempt or 0) - time.time() <= 7200
    assert post.outbox.lease_next(60) is None
    post.send(BASE, "other app", app_id=2)
    assert claim(post).app_id == 2


def test_what_came_to_be_due_while_an_address_rests_is_put_off(post: Post) -> None:
    post.send(BASE, "first")
    post.outbox.record(claim(post), Outcome(429, "It answered 429.", 7200, 0.1))
    with post.database.session() as session:
        session.execute(update(Delivery).values(next_attempt=0.0))  # as when a retry that failed lets go of it
    assert post.outbox.lease_next(60) is None
    (delivery,) = post.find("first")
    assert 7100 < (delivery.next_attempt or 0) - time.time() <= 7200


def test_a_redelivery_does_not_wait_for_an_address_to_have_rested(post: Post) -> None:
    post.send(BASE)
    post.outbox.record(claim(post), Outcome(503, "It answered 503.", 80000, 0.1))
    post.outbox.redeliver("job")
    assert claim(post).attempts == 0


def test_an_address_that_answers_again_has_rested(post: Post) -> None:
    for number in range(3):
        post.send(BASE, f"job{number}")
    silent, good, waiting = claim(post), claim(post), claim(post)
    post.outbox.record(silent, SILENT)
    post.outbox.record(good, TAKEN)
    post.outbox.record(waiting, TAKEN)
    assert (post.send(BASE, "next").next_attempt or 0) <= time.time()


def test_thousands_at_a_closed_address_are_disabled_together(post: Post) -> None:
    with post.database.session() as session:
        session.add_all(Job(id=f"{n:04}", app_id=1, kind="detection", request={}, retries=0) for n in range(2000))
        session.flush()
        for job in session.scalars(select(Job)):
            enqueue(session, job, Kind.RESULT, Destination(f"{BASE}/{job.id}", BASE))
    claimed = claim(post)
    post.outbox.record(claimed, Outcome(410, "gone", None, 0.1))
    with post.database.session() as session:
        assert session.scalars(select(Delivery.status).distinct()).all() == ["disabled"]
        session.execute(update(Delivery).values(status="pending", next_attempt=0.0))  # whatever made them due
    statements: list[str] = []
    event.listen(post.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert post.outbox.lease_next(60) is None
    assert len(statements) < 20


def test_how_far_a_job_is_leaves_nothing_at_a_closed_address(post: Post) -> None:
    post.send(BASE, kind=Kind.PROGRESS)
    post.outbox.record(claim(post), Outcome(410, "gone", None, 0.1))
    for _ in range(5):
        post.send(BASE, kind=Kind.PROGRESS)
    assert [delivery.status for delivery in post.find()] == ["disabled"]


def test_no_two_events_that_say_how_far_a_job_is_have_the_same_id(post: Post) -> None:
    first = post.send(BASE, kind=Kind.PROGRESS)
    assert post.send(BASE, kind=Kind.PROGRESS).id != first.id


@pytest.mark.parametrize("status", ["pending", "cancelled", "superseded"])
def test_what_arrived_has_arrived_whatever_was_decided_meanwhile(post: Post, status: str) -> None:
    delivery = post.send(BASE)
    claimed = claim(post)
    with post.database.session() as session:
        session.execute(update(Delivery).values(status=status, next_attempt=None))
    post.outbox.record(claimed, TAKEN)
    delivery = post.look(delivery)
    assert (delivery.status, delivery.attempts, delivery.http_status) == ("delivered", 1, 200)


@pytest.mark.parametrize("status", ["pending", "cancelled", "superseded"])
def test_a_try_that_failed_changes_no_decision_but_is_counted(post: Post, status: str) -> None:
    delivery = post.send(BASE)
    claimed = claim(post)
    with post.database.session() as session:
        session.execute(update(Delivery).values(status=status, next_attempt=None))
    post.outbox.record(claimed, FAILED)
    delivery = post.look(delivery)
    assert (delivery.status, delivery.next_attempt, delivery.attempts) == (status, None, 1)
    assert delivery.error == "It answered 500."


def test_of_the_ends_of_a_job_the_last_is_sent_again_with_the_newest_result(post: Post) -> None:
    for retries, kinds in ((0, (Kind.RESULT, Kind.DONE)), (1, (Kind.FAILED,))):
        for kind in kinds:
            post.send(BASE, retries=retries, kind=kind)
            post.outbox.record(claim(post), TAKEN)
    assert post.outbox.redeliver("job") == 2
    assert {delivery.kind: delivery.status for delivery in post.find()} == {
        "result": "pending",
        "job.done": "delivered",
        "job.failed": "pending",
    }


def test_the_end_of_a_job_takes_the_place_of_an_older_one_that_has_not_arrived(post: Post) -> None:
    post.send(BASE, kind=Kind.FAILED)
    post.send(BASE, retries=1, kind=Kind.DONE)
    assert {delivery.kind: delivery.status for delivery in post.find()} == {
        "job.failed": "superseded",
        "job.done": "pending",
    }
