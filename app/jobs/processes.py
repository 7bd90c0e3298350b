"""The process that holds a claim, by a name that any other process of the same machine can look up."""

import functools
import os
from pathlib import Path


def name_worker(pid: int | None = None) -> str:
    """Return a name for a process of this machine: this one, unless another is given."""
    return f"{_read_machine()}:{pid or os.getpid()}"


def is_gone(worker: str | None) -> bool:
    """Tell whether the process of a name is known to have ended. Of another machine's, nothing is known."""
    machine, _, pid = (worker or "").rpartition(":")
    if not machine or machine != _read_machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is there, and another user's
        pass
    return False


@functools.cache
def _read_machine() -> str:
    """Return what process numbers are unique in: one run of one machine, and there one namespace (a container's)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: a dead worker's claim is found when it is stale
        return ""
