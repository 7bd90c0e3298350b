import pytest

from app.net.transport import parse_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 400, None),
        ("9" * 5000, None),
        ("0", 0),
        (" 120 ", 120),
        ("Thu, 01 Dec 1994 16:00:00 GMT", 0),
        ("Thu, 01 Dec 1994 16:00:00 -0000", 0),
        ("Thu, 99 Dec 1994 16:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds
