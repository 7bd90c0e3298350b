"""An interrupted command ends at once, leaves nothing broken, and continues when it is run again."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from app.config import ROOT
from tests.integration.command_line.conftest import Run
from tests.support.library import Answer, Library, Scan

SECONDS = 120


def test_an_interrupted_run_continues(command: Run, library: Library, tmp_path: Path) -> None:
    pages = [Scan(300, 400), Scan(300, 400, instead=Answer(hang=True))]
    arguments = ["detect", library.offer_manifest(pages), "--out", str(tmp_path / "out"), "--no-pictures", "--json"]
    # A process that a shell starts in the background ignores SIGINT.
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import runpy; "
    code = f"{start}sys.argv[1:] = {arguments!r}; runpy.run_module('app', run_name='__main__')"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    end, records = time.monotonic() + SECONDS, tmp_path / "out" / ".extractor" / "jobs"
    while not (list(records.glob("*/pages.jsonl")) and any("/iiif/2/full" in path for path in library.paths)):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said.strip()) == (130, "Interrupted. Run the same command again to continue.")
    library.forget()
    library.offer_manifest([Scan(300, 400)] * 2)
    done = command(*arguments)
    coverage = done.facts["documents"][0]["coverage"]
    assert (done.code, coverage["detected"] + coverage["empty"], coverage["failed"]) == (0, 2, [])
    assert not [path for path in library.paths if path.startswith("/iiif/1/full")]
