"""Names of processes, by which any process of the same machine can check whether a process has ended."""

import functools
import os
from pathlib import Path


def name_process(pid: int | None = None) -> str:
    """Return the name of the process with a PID on this machine, by default of this process."""
    return f"{_read_machine()}:{pid or os.getpid()}"


def has_ended(process: str | None) -> bool:
    """Return whether a named process has ended; False for a process of another machine, which cannot be checked."""
    machine, _, pid = (process or "").rpartition(":")
    if not machine or machine != _read_machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs as another user
        pass
    return False


@functools.cache
def _read_machine() -> str:
    """Return the scope in which a PID is unique: one boot of a machine, and one PID namespace (container)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: only missing heartbeats show that a process has ended
        return ""
