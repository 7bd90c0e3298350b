"""A result in parts: each is told apart, nothing is sent twice, what has changed replaces what has not arrived."""

from collections.abc import Mapping

from sqlalchemy import update

from app.database.tables import Delivery, Job
from app.delivery.kinds import Status
from app.delivery.outbox import Outcome
from app.delivery.payloads import Destination
from app.delivery.result_parts import enqueue_parts
from tests.integration.delivery.conftest import Post

URL = "https://a.example/similarity"
TAKEN = Outcome(200, None, None, 0.1)


def send(post: Post, parts: Mapping[str, str], retries: int = 0, url: str = URL) -> dict[str, Delivery]:
    """Enqueue the parts of a job's result; return the deliveries that are not out of date, by part."""
    with post.database.session() as session:
        job = session.get(Job, "job") or Job(id="job", app_id=1, kind="similarity", request={}, state="done")
        job.retries = retries
        session.add(job)
        session.flush()
        enqueue_parts(session, job, Destination(url, url), parts)
    return {each.part: each for each in post.find() if each.status != Status.SUPERSEDED}


def hold_back(post: Post) -> None:
    """Do what a retry of the job does."""
    with post.database.session() as session:
        for each in session.query(Delivery).filter_by(status="pending"):
            each.next_attempt = None


def test_every_part_is_a_message_of_its_own_to_one_address(post: Post) -> None:
    found = send(post, {"a-a": "1", "a-b": "2", "b-b": "3"})
    assert set(found) == {"a-a", "a-b", "b-b"}
    assert len({each.id for each in found.values()}) == 3
    assert {(each.url, each.endpoint, each.kind) for each in found.values()} == {(URL, URL, "result")}


def test_a_stage_that_runs_twice_enqueues_once(post: Post) -> None:
    first = send(post, {"a-a": "1", "a-b": "2"})
    post.outbox.record(post.outbox.lease_next(60), TAKEN)  # type: ignore[arg-type]
    again = send(post, {"a-a": "1", "a-b": "2"})
    assert {part: each.id for part, each in first.items()} == {part: each.id for part, each in again.items()}
    assert sorted(each.status for each in again.values()) == ["delivered", "pending"]


def test_after_a_retry_only_what_has_changed_is_sent_anew(post: Post) -> None:
    first = send(post, {"a-a": "1", "a-b": "2", "b-b": "3"})
    for _ in range(2):
        post.outbox.record(post.outbox.lease_next(60), TAKEN)  # type: ignore[arg-type]
    arrived = {part for part, each in first.items() if post.look(each).status == "delivered"}
    hold_back(post)
    again = send(post, {"a-a": "1", "a-b": "changed", "b-b": "3"}, retries=1)
    assert again["a-a"].id == first["a-a"].id
    assert again["b-b"].id == first["b-b"].id
    assert again["a-b"].id != first["a-b"].id
    assert post.look(first["a-b"]).status == ("delivered" if "a-b" in arrived else "superseded")
    due = {each.part for each in again.values() if each.status == "pending" and each.next_attempt}
    assert due == {"a-a", "a-b", "b-b"} - (arrived - {"a-b"})


def test_a_part_that_was_cancelled_with_a_retry_is_due_when_the_next_one_brings_it_again(post: Post) -> None:
    send(post, {"a-a": "1"})
    with post.database.session() as session:  # as a cancel of the retry does
        session.execute(update(Delivery).values(status=Status.CANCELLED, next_attempt=None))
    again = send(post, {"a-a": "1"}, retries=2)["a-a"]
    assert (again.status, post.outbox.count_due(9)) == (Status.PENDING, 1)


def test_a_part_that_becomes_what_it_was_before_it_arrived_is_due(post: Post) -> None:
    for retries, content in enumerate(("1", "2", "1")):
        found = send(post, {"a-a": content}, retries)
    assert (found["a-a"].status, post.outbox.count_due(9)) == (Status.PENDING, 1)


def test_a_part_that_becomes_what_it_was_after_another_has_arrived_is_sent_anew_once(post: Post) -> None:
    ids = []
    for retries, content in enumerate(("1", "2", "1", "1")):
        for _ in range(2):  # as when the stage runs again
            send(post, {"a-a": content}, retries)
        while claimed := post.outbox.lease_next(60):
            ids.append(claimed.id)
            post.outbox.record(claimed, Outcome(200, None, None, 0.1))
    assert len(ids) == len(set(ids)) == 3  # the last retry has changed nothing


def test_only_the_newest_of_each_part_is_sent_again(post: Post) -> None:
    send(post, {"a-a": "1", "a-b": "2"})
    while claimed := post.outbox.lease_next(60):
        post.outbox.record(claimed, TAKEN)
    newest = send(post, {"a-a": "1", "a-b": "changed"}, retries=1)
    while claimed := post.outbox.lease_next(60):
        post.outbox.record(claimed, TAKEN)
    assert post.outbox.redeliver("job") == 2
    due = []
    while claimed := post.outbox.lease_next(60):
        due.append(claimed.id)
        post.outbox.record(claimed, TAKEN)
    assert set(due) == {newest["a-a"].id, newest["a-b"].id}


def test_a_closed_address_gets_no_part(post: Post) -> None:
    send(post, {"a-a": "1", "a-b": "2"})
    post.outbox.record(post.outbox.lease_next(60), Outcome(410, "gone", None, 0.1))  # type: ignore[arg-type]
    assert {each.status for each in send(post, {"a-c": "3"}, retries=1).values()} == {"disabled"}


def test_thousands_of_parts_are_enqueued_in_a_few_statements(post: Post) -> None:
    from sqlalchemy import event

    statements: list[str] = []
    event.listen(post.database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    parts = {f"a-{number}": str(number) for number in range(1326)}
    for retries in range(2):
        assert len(send(post, parts, retries)) == 1326
    assert len(statements) < 40
