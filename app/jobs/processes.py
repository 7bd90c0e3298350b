"""Names of processes: any process of the same machine can find out whether the owner of a name has ended."""

import functools
import os
from pathlib import Path


def name_process(pid: int | None = None) -> str:
    """Return the name of a process of this machine: of this one, or of a given PID."""
    return f"{_read_machine()}:{pid or os.getpid()}"


def has_ended(process: str | None) -> bool:
    """Tell whether the process of a name is known to have ended. Nothing is known of another machine's."""
    machine, _, pid = (process or "").rpartition(":")
    if not machine or machine != _read_machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, as another user
        pass
    return False


@functools.cache
def _read_machine() -> str:
    """Return the scope in which a PID is unique: one boot of one machine, and one PID namespace (a container's)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: the heartbeat alone shows that a process has ended
        return ""
