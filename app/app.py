"""The ``app`` and ``celery`` objects of the commands ``flask --app app.app`` and ``celery -A app.app.celery``.

Each object is built when it is first used: the workers and the schedule need no routes and no pages.

Garbage collection leaves out the imported modules, which stay in memory. To search them for garbage would take a sixth
of the time of a start, and half a second at the end of each process. The default threshold of 700 objects would take a
fifth of the time in which torch and timm are imported.
"""

import gc
import sys
from typing import Any

from app import create_app, create_queue
from app.errors import ExtractorError


def __getattr__(name: str) -> Any:
    builders = {"app": create_app, "celery": create_queue}
    if name not in builders:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    gc.disable()
    try:
        found = globals()[name] = builders[name]()
    except ExtractorError as error:
        sys.exit(error.message)
    finally:
        gc.enable()
    gc.freeze()
    gc.set_threshold(10_000)
    return found
