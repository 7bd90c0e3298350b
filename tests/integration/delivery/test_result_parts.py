"""Results with several parts: no part is sent twice, and changed parts supersede pending ones."""

from collections.abc import Mapping

from sqlalchemy import update

from app.database.tables import Delivery, Job
from app.delivery.kinds import Status
from app.delivery.outbox import Outcome
from app.delivery.payloads import Destination
from app.delivery.result_parts import enqueue_parts
from tests.integration.delivery.conftest import Harness

URL = "https://a.example/similarity"
TAKEN = Outcome(200, None, None, 0.1)


def send(harness: Harness, parts: Mapping[str, str], retries: int = 0, url: str = URL) -> dict[str, Delivery]:
    """Enqueue the parts of a job's result; return the deliveries that are not superseded, by part."""
    with harness.database.session() as session:
        job = session.get(Job, "job") or Job(id="job", app_id=1, kind="similarity", request={}, state="done")
        job.retries = retries
        session.add(job)
        session.flush()
        enqueue_parts(session, job, Destination(url, url), parts)
    return {each.part: each for each in harness.find() if each.status != Status.SUPERSEDED}


def hold_back(harness: Harness) -> None:
    """Hold back pending deliveries, as a retry of the job does."""
    with harness.database.session() as session:
        for each in session.query(Delivery).filter_by(status="pending"):
            each.next_attempt = None


def test_every_part_is_a_delivery_to_the_same_url(harness: Harness) -> None:
    found = send(harness, {"a-a": "1", "a-b": "2", "b-b": "3"})
    assert set(found) == {"a-a", "a-b", "b-b"}
    assert len({each.id for each in found.values()}) == 3
    assert {(each.url, each.endpoint, each.kind) for each in found.values()} == {(URL, URL, "result")}


def test_a_repeated_stage_enqueues_once(harness: Harness) -> None:
    first = send(harness, {"a-a": "1", "a-b": "2"})
    harness.outbox.record(harness.outbox.lease_next(60), TAKEN)  # type: ignore[arg-type]
    again = send(harness, {"a-a": "1", "a-b": "2"})
    assert {part: each.id for part, each in first.items()} == {part: each.id for part, each in again.items()}
    assert sorted(each.status for each in again.values()) == ["delivered", "pending"]


def test_after_a_retry_only_changed_parts_are_sent_again(harness: Harness) -> None:
    first = send(harness, {"a-a": "1", "a-b": "2", "b-b": "3"})
    for _ in range(2):
        harness.outbox.record(harness.outbox.lease_next(60), TAKEN)  # type: ignore[arg-type]
    arrived = {part for part, each in first.items() if harness.reload(each).status == "delivered"}
    hold_back(harness)
    again = send(harness, {"a-a": "1", "a-b": "changed", "b-b": "3"}, retries=1)
    assert again["a-a"].id == first["a-a"].id
    assert again["b-b"].id == first["b-b"].id
    assert again["a-b"].id != first["a-b"].id
    assert harness.reload(first["a-b"]).status == ("delivered" if "a-b" in arrived else "superseded")
    due = {each.part for each in again.values() if each.status == "pending" and each.next_attempt}
    assert due == {"a-a", "a-b", "b-b"} - (arrived - {"a-b"})


def test_a_cancelled_part_is_due_after_the_next_retry(harness: Harness) -> None:
    send(harness, {"a-a": "1"})
    with harness.database.session() as session:  # as a cancel of the retry does
        session.execute(update(Delivery).values(status=Status.CANCELLED, next_attempt=None))
    again = send(harness, {"a-a": "1"}, retries=2)["a-a"]
    assert (again.status, harness.outbox.count_due(9)) == (Status.PENDING, 1)


def test_a_pending_part_that_returns_to_its_old_content_is_due(harness: Harness) -> None:
    for retries, content in enumerate(("1", "2", "1")):
        found = send(harness, {"a-a": content}, retries)
    assert (found["a-a"].status, harness.outbox.count_due(9)) == (Status.PENDING, 1)


def test_a_part_that_returns_to_its_old_content_is_sent_again_once(harness: Harness) -> None:
    ids = []
    for retries, content in enumerate(("1", "2", "1", "1")):
        for _ in range(2):  # the second call is a repeated stage
            send(harness, {"a-a": content}, retries)
        while claimed := harness.outbox.lease_next(60):
            ids.append(claimed.id)
            harness.outbox.record(claimed, Outcome(200, None, None, 0.1))
    assert len(ids) == len(set(ids)) == 3  # the last retry did not change the content


def test_only_the_newest_version_of_each_part_is_redelivered(harness: Harness) -> None:
    send(harness, {"a-a": "1", "a-b": "2"})
    while claimed := harness.outbox.lease_next(60):
        harness.outbox.record(claimed, TAKEN)
    newest = send(harness, {"a-a": "1", "a-b": "changed"}, retries=1)
    while claimed := harness.outbox.lease_next(60):
        harness.outbox.record(claimed, TAKEN)
    assert harness.outbox.redeliver("job") == 2
    due = []
    while claimed := harness.outbox.lease_next(60):
        due.append(claimed.id)
        harness.outbox.record(claimed, TAKEN)
    assert set(due) == {newest["a-a"].id, newest["a-b"].id}


def test_parts_for_a_closed_endpoint_are_disabled(harness: Harness) -> None:
    send(harness, {"a-a": "1", "a-b": "2"})
    harness.outbox.record(harness.outbox.lease_next(60), Outcome(410, "gone", None, 0.1))  # type: ignore[arg-type]
    assert {each.status for each in send(harness, {"a-c": "3"}, retries=1).values()} == {"disabled"}


def test_thousands_of_parts_are_enqueued_in_a_few_statements(harness: Harness) -> None:
    from sqlalchemy import event

    statements: list[str] = []
    event.listen(harness.database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    parts = {f"a-{number}": str(number) for number in range(1326)}
    for retries in range(2):
        assert len(send(harness, parts, retries)) == 1326
    assert len(statements) < 40
