import errno

import pytest

from app.errors import NoSpace
from app.workers.failures import explain


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_the_error_of_the_job(code: int) -> None:
    error = explain(OSError(code, "full"))
    assert isinstance(error, NoSpace)
    assert error.message.endswith("free some space and retry the job.")
