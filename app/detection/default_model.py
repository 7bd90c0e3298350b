"""Which weights are used when a request names none: those of ``DEFAULT_MODEL``, until others are chosen.

The choice is a small file in the data folder, read whenever it is needed: so it survives a restart, and holds for the
web processes and every worker from the moment at which it is written.
"""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from app.storage import write_atomic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DefaultModel:
    """A choice of weights.

    Attributes:
        name: File name of the weights.
        previous: Those chosen before, or else set by ``DEFAULT_MODEL``; None when these are the first.
        since: When they were chosen, in seconds since the epoch; None when they were set by ``DEFAULT_MODEL``.
    """

    name: str
    previous: str | None = None
    since: float | None = None


def load_default(chosen: Path | None, setting: str) -> DefaultModel:
    """Return what was chosen, or else what is set.

    A file that cannot be read counts as none: it is written whole or not at all, so somebody has changed it by hand.
    """
    if chosen is None or not chosen.exists():
        return DefaultModel(setting)
    try:
        choice = DefaultModel(**json.loads(chosen.read_bytes()))
        if not isinstance(choice.name, str) or not isinstance(choice.previous, str | None):
            raise TypeError("a name is no text")
        return DefaultModel(choice.name, choice.previous, float(choice.since or 0))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s says nothing of the default model: %s is used (%r)", chosen, setting, error)
        return DefaultModel(setting)


def save_default(chosen: Path, before: DefaultModel, name: str) -> DefaultModel:
    """Choose weights; to choose those that are used already changes nothing."""
    if before.name.removesuffix(".pt") == name.removesuffix(".pt"):
        return before
    choice = DefaultModel(name, before.name, time.time())
    write_atomic(chosen, json.dumps(asdict(choice)).encode())
    return choice
