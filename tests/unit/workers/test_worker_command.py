import pytest

from app.errors import SettingsError
from app.workers.__main__ import build_command


def test_downloads_run_in_threads() -> None:
    assert " -n io@%h -Q io -P threads -c 32 " in " ".join(build_command("io"))


def test_the_gpu_worker_runs_one_job_at_a_time_in_a_child_process() -> None:
    assert " -Q gpu -P prefork -c 1 " in " ".join(build_command("gpu"))


@pytest.mark.parametrize("queue", ["", "io gpu", "nowhere"])
def test_an_unknown_queue_is_refused(queue: str) -> None:
    with pytest.raises(SettingsError, match="io, gpu, post"):
        build_command(queue)
