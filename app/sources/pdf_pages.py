"""The pages of a PDF, which a process of its own reads: see :mod:`app.sources.pdf_process`."""

import json
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from app.errors import FetchError, ManifestError, NotAnImage
from app.iiif.images import FetchedImage
from app.sources.listing import ListedPage
from app.sources.page_files import check_page

_ROOT = Path(__file__).resolve().parents[2]
_FAULTS = {
    "password": "has a password: remove it, and send the PDF again",
    "damaged": "is damaged or incomplete: save the PDF again",
}
_LARGEST_ANSWER = 1_000_000_000


class PdfPages:
    """The pages of a PDF. One process reads them one by one; it is started again after a crash.

    Args:
        path: The PDF.
        shown: URL or name of the file, for error messages.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pages = 0
        self._is_closed = False

    def list_pages(self, max_pages: int) -> list[ListedPage]:
        """Return the pages.

        Raises:
            ManifestError: The PDF has a password, is damaged, or has no pages or too many.
        """
        with self._lock:
            self._start()
        if not self._pages:
            raise ManifestError(f"{self._shown} is a PDF without pages: check the file.")
        if self._pages > max_pages:
            raise ManifestError(
                f"{self._shown} has {self._pages} pages; at most {max_pages} are accepted (MAX_CANVASES)."
            )
        return [ListedPage(str(number)) for number in range(1, self._pages + 1)]

    def read(self, place: str) -> FetchedImage:
        with self._lock:
            if self._is_closed:
                raise FetchError("The PDF was closed.")
            data = self._ask(self._process or self._start(), place)
        return check_page(data, f"Page {place}")

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._stop()

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start the process, and return it.

        Raises:
            ManifestError: The PDF cannot be opened.
        """
        self._stop()
        command = [sys.executable, "-m", "app.sources.pdf_process", str(self._path.resolve())]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=nowhere)  # noqa: S603
        answer = self._read_answer(self._process) or {"error": "damaged"}
        if fault := _FAULTS.get(answer.get("error", "")):
            self._stop()
            raise ManifestError(f"{self._shown} {fault}.")
        self._pages = answer["pages"]
        return self._process

    def _ask(self, process: "subprocess.Popen[bytes]", place: str) -> bytes:
        questions, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        with suppress(OSError):  # the process has died: it does not answer either
            questions.write(f"{place}\n".encode())
            questions.flush()
        answer = self._read_answer(process)
        if answer is None:
            reason = "took too long" if self._stop() == -signal.SIGALRM else "needs too much memory or is damaged"
            # Temporary, so that several such pages in a row stop the download.
            raise FetchError(f"Page {place} of the PDF {reason}: save the PDF again.", temporary=True)
        if "error" in answer:
            raise NotAnImage(f"Page {place} of the PDF could not be rendered: {answer['error'].rstrip('.')}.")
        data = answers.read(min(answer["bytes"], _LARGEST_ANSWER))
        if len(data) < answer["bytes"]:
            self._stop()
            raise FetchError(f"Page {place} of the PDF could not be rendered: save the PDF again.", temporary=True)
        return data

    @staticmethod
    def _read_answer(process: "subprocess.Popen[bytes]") -> dict[str, Any] | None:
        line = cast(IO[bytes], process.stdout).readline(10_000)
        return json.loads(line) if line else None

    def _stop(self) -> int | None:
        """End the process; return its exit status, or None if there is none."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.stdin:
            with suppress(OSError):
                process.stdin.close()
        try:
            status = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdout:
            process.stdout.close()
        return status
