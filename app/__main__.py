"""``python -m app``: detect and compare on this machine, without a server."""

import sys

from app.command_line.program import run

if __name__ == "__main__":
    sys.exit(run())
