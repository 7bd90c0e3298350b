"""The outcome of a command: a summary for people or a JSON document, an exit code; and progress bars."""

import errno
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TextIO

import click

from app.devices import describe, is_device_lost, is_out_of_memory
from app.errors import ExtractorError
from app.storage import is_disk_full

DONE, FAILED, INCOMPLETE, INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command.

    Attributes:
        facts: JSON document for programs.
        lines: Summary for people.
        exit_code: ``DONE``, ``FAILED`` or ``INCOMPLETE``.
    """

    facts: dict[str, Any]
    lines: Sequence[str]
    exit_code: int = DONE


def report_outcome(function: Callable[..., Outcome]) -> Callable[..., int]:
    """Turn a function that returns an outcome into the callback of a command with the option ``--json``."""

    @click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
    @wraps(function)
    def run(as_json: bool, **arguments: Any) -> int:
        try:
            outcome = function(**arguments)
        except (ExtractorError, OSError, MemoryError, RuntimeError) as error:
            known = explain(error)
            facts = {"error": {"code": known.code, "message": known.message}}
            outcome = Outcome(facts, (), FAILED)
            warn(f"Error: {known.message}")
        lines = [json.dumps(outcome.facts, ensure_ascii=False, indent=2)] if as_json else outcome.lines
        for line in lines:
            _print(line, sys.stdout)
        return outcome.exit_code

    return run


def format_examples(*commands: str) -> str:
    """Return the last part of the help of a command; ``\\b`` keeps its lines."""
    return "\n".join(["\b", "Examples:", *(f"  python -m app {command}" for command in commands)])


def explain(error: Exception) -> ExtractorError:
    """Return an error with a sentence for the user: a full disk, a full memory, a file that cannot be used.

    Raises:
        Exception: The error itself, if its cause is unknown.
    """
    if isinstance(error, ExtractorError):
        return error
    if is_out_of_memory(error):
        return ExtractorError("The memory is full: close other programs, or set a smaller BATCH_SIZE.")
    if is_disk_full(error):
        return ExtractorError("The disk is full: free some space, and run the command again to continue.")
    if isinstance(error, OSError) and error.filename and error.errno != errno.EPIPE:
        return ExtractorError(f"{error.filename} cannot be used: {error.strerror}.")
    if is_device_lost(error):
        return ExtractorError(f"The GPU failed with `{describe(error)}`: run the command again, or set DEVICE=cpu.")
    raise error


@contextmanager
def show_progress(title: str, unit: str = "page") -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr, if it is a terminal; yield the function that gets the progress of a pipeline."""
    from tqdm import tqdm

    with tqdm(desc=title, unit=f" {unit}s", disable=None, leave=False, file=sys.stderr) as bar:

        def report(done: int, total: int = 0, coverage: object = None) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield report


def warn(text: str) -> None:
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    """Print a text; characters that the stream cannot encode are escaped, such as those of an invalid file name."""
    encoding = stream.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
