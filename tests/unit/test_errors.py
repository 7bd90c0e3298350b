import pickle

import pytest

from app import errors


@pytest.mark.parametrize("kind", [errors.ExtractorError, errors.RequestError, errors.ManifestError, errors.FetchError])
def test_a_pickled_error_keeps_its_message(kind: type[errors.ExtractorError]) -> None:
    again = pickle.loads(pickle.dumps(kind("It was so.")))  # noqa: S301 (our own bytes)
    assert (type(again), again.message, again.status) == (kind, "It was so.", kind.status)


def test_a_pickled_fetch_error_keeps_the_http_status() -> None:
    again = pickle.loads(pickle.dumps(errors.FetchError("No.", 404)))  # noqa: S301 (our own bytes)
    assert (again.message, again.http_status) == ("No.", 404)
