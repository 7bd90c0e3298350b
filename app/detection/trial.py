"""A trial of weights: whether they load, and look at a page.

Only torch knows. It stays out of the web process, and a file that brings its process down brings down no other:

    python -m app.detection.trial FILE [FOLDER]    says what is wrong with FILE, if anything; ultralytics keeps its
                                                   settings in FOLDER
"""

import os
import subprocess
import sys
from pathlib import Path
from threading import Lock

from app.config import ROOT
from app.errors import Unavailable, WeightsError

SECONDS = 45.0
_at_work = Lock()


def try_weights(path: Path, folder: Path) -> None:
    """Try weights in a process of their own.

    Args:
        path: Of the file.
        folder: Where ultralytics may keep its settings.

    Raises:
        WeightsError: They do not load, or do not work.
        Unavailable: There is no telling now.
    """
    if not _at_work.acquire(blocking=False):  # each takes a processor and some hundreds of megabytes
        raise Unavailable("Other weights are being tried at this moment: send it again in a minute.")
    try:
        command = [sys.executable, "-m", "app.detection.trial", str(path.absolute()), str(folder.absolute())]
        gently = os.environ | {"OMP_NUM_THREADS": "1"}
        trial = subprocess.run(  # noqa: S603
            command, cwd=ROOT, env=gently, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{path.name} could not be tried within {SECONDS:g} seconds: send it again later.") from error
    finally:
        _at_work.release()
    if trial.returncode:
        said = trial.stdout.splitlines()  # of which the last line is ours
        raise WeightsError(said[-1] if said else f"{path.name} ends the process that loads it: it is not used.")


def look_at_a_page(path: Path) -> None:
    """Load weights and look at a grey page, on the processor.

    Raises:
        WeightsError: They do not load, or do not work.
    """
    import numpy as np

    from app.detection.detector import Detector, DetectorConfig
    from app.detection.weights import load_network

    network = load_network(path)
    try:
        Detector(network, DetectorConfig(size=320, device="cpu")).detect([np.full((320, 320, 3), 127, np.uint8)])
    # What a network of a file does can fail in any way.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path.name} loads, but cannot look at a page: {reason}") from error


def main() -> None:
    from app.detection.weights import isolate_ultralytics

    isolate_ultralytics(Path(sys.argv[2]) if sys.argv[2:] else None)
    try:
        look_at_a_page(Path(sys.argv[1]))
    except WeightsError as error:
        print(error.message)
        sys.exit(1)


if __name__ == "__main__":
    main()
