import errno

import pytest

from app.errors import NoSpace
from app.workers.failures import explain


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_the_error_of_the_job(code: int) -> None:
    error = explain(OSError(code, "full"))
    assert isinstance(error, NoSpace)
    assert error.message.endswith("free some space and retry the job.")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "set DEVICE=cpu or use a GPU"),
        ("CUDA error: invalid device ordinal", "The setting DEVICE names a GPU that this server does not have"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_explained(text: str, advice: str) -> None:
    assert advice in explain(RuntimeError(f"{text}\nCompile with TORCH_USE_CUDA_DSA")).message
