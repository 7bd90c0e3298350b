"""The program ``python -m app``: its commands, and what happens at their end.

0    done
1    failed: the reason is on stderr
2    a wrong option or argument
3    done, but some pages or images failed
130  interrupted: the same command continues
"""

import os
import sys
from collections.abc import Sequence

import click

from app.command_line.compare import compare
from app.command_line.detect import detect
from app.command_line.evaluate import evaluate
from app.command_line.models import models
from app.command_line.outcome import INTERRUPTED
from app.command_line.search import search
from app.config import PRODUCT, VERSION

EXIT_CODES = """\b
Exit codes:
  0    done
  1    failed: the reason is on stderr
  2    a wrong option or argument
  3    done, but some pages or images failed
  130  interrupted: the same command continues
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=PRODUCT)
def program() -> None:
    """Detect and compare the illustrations of documents on this machine, without a server.

    The settings are those of the service: .env and the environment. Each command explains itself: `COMMAND --help`.
    """


for command in (detect, compare, search, evaluate, models):
    program.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    try:
        return int(program.main(arguments, prog_name="python -m app", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Interrupted. Run the same command again to continue.", err=True)
        sys.stdout.flush()
        # Without waiting for the threads that fetch images. Files are written atomically.
        os._exit(INTERRUPTED)
