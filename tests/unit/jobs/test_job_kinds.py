import pytest

from app.jobs.job_kinds import KINDS, YIELDING, JobKind, Part, find_kind


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_modules_of_a_kind_exist(kind: JobKind) -> None:
    stages = kind.import_stages() if kind.stages else None
    assert not stages or all(callable(getattr(stages, name)) for name in ("download", "run", "deliver"))
    assert not kind.payload or callable(kind.import_payload())
    assert not kind.event or callable(kind.import_event())


def test_only_a_kind_that_consists_of_its_parts_has_no_stages() -> None:
    assert [(kind.name, kind.has_parts) for kind in KINDS.values() if not kind.stages] == [("aikon", True)]


def test_only_trainings_yield() -> None:
    assert [name for name in KINDS if name in YIELDING] == ["training"]


def test_a_collection_has_the_request_class_of_a_detection() -> None:
    assert find_kind("collection").request is find_kind("detection").request


@pytest.mark.parametrize(("count", "said"), [(1, "The canvas that failed is"), (3, "The 3 canvases that failed are")])
def test_failed_parts_are_described_by_their_number(count: int, said: str) -> None:
    assert Part("canvas", "canvases").describe_failed(count) == said
