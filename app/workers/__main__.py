"""Start the worker of a queue: replaces this process by Celery's.

    python -m app.workers io      downloads, in 32 threads
    python -m app.workers gpu     detection, comparison and training, one job at a time in a child process
    python -m app.workers post    deliveries and periodic tasks, in 16 threads

Supervisor (``app/supervisord.conf``) and systemd (``app/systemd/``) run these commands.
"""

import os
import sys

from app.errors import SettingsError

# Enough threads for 16 hosts with two jobs each (HOST_JOBS). They mostly wait for libraries.
DOWNLOAD_THREADS = 32
DELIVERY_THREADS = 16


def build_command(queue: str) -> list[str]:
    """Return the command line of Celery for the worker of a queue."""
    pools = {
        "io": ("threads", DOWNLOAD_THREADS),
        "gpu": ("prefork", 1),
        "post": ("threads", DELIVERY_THREADS),
    }
    if queue not in pools:
        raise SettingsError(f"There is no queue {queue!r}: choose one of {', '.join(pools)}.")
    pool, size = pools[queue]
    options = ["-n", f"{queue}@%h", "-Q", queue, "-P", pool, "-c", str(size), "--loglevel=info"]
    return ["-q", "-A", "app.app.celery", "worker", *options, "--without-mingle", "--without-gossip"]


def main() -> None:
    try:
        command = build_command(" ".join(sys.argv[1:]))
    except SettingsError as error:
        sys.exit(error.message)
    os.execv(sys.executable, [sys.executable, "-m", "celery", *command])


if __name__ == "__main__":
    main()
