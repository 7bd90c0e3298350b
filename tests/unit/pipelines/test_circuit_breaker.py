from app.errors import FetchError
from app.pipelines.image_cache import CircuitBreaker

BUSY = FetchError("It answered 429. Tried 5 times.", 429, temporary=True)
GONE = FetchError("It answered 404.", 404)


def test_consecutive_temporary_failures_open_the_circuit() -> None:
    breaker = CircuitBreaker(3)
    for _ in range(2):
        breaker.record(BUSY)
    assert breaker.reason == ""
    breaker.record(BUSY)
    assert breaker.reason.startswith("Not fetched, because 3 images in a row")
    assert "answered 429" in breaker.reason


def test_any_definite_answer_resets_the_failure_count() -> None:
    breaker = CircuitBreaker(2)
    for answer in (None, GONE):
        breaker.record(BUSY)
        breaker.record(answer)
    breaker.record(BUSY)
    assert breaker.reason == ""
