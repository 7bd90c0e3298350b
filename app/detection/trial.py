"""Trial of weights in a subprocess: load them and detect on a test page.

This needs torch, which the web process does not import. A file that crashes the subprocess does not affect the service.

    python -m app.detection.trial FILE [FOLDER]

The subprocess prints the reason if FILE does not work. Ultralytics keeps its settings in FOLDER.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock

from app.config import ROOT
from app.errors import Unavailable, WeightsError

SECONDS = 45.0
_running = Lock()


def try_weights(path: Path, folder: Path) -> None:
    """Try weights in a subprocess.

    Args:
        path: Weights file.
        folder: Folder for the settings of ultralytics.

    Raises:
        WeightsError: If the weights do not load, or detection fails.
        Unavailable: If another trial is running, or the trial takes too long.
    """
    if not _running.acquire(blocking=False):  # a trial takes one core and some hundreds of megabytes
        raise Unavailable("Other weights are being tried at this moment: send the request again in a minute.")
    try:
        command = [sys.executable, "-m", "app.detection.trial", str(path.absolute()), str(folder.absolute())]
        gently = os.environ | {"OMP_NUM_THREADS": "1"}
        trial = subprocess.run(  # noqa: S603
            command, cwd=ROOT, env=gently, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"{path.name} could not be tried within {SECONDS:g} seconds: send the request again later."
        ) from error
    finally:
        _running.release()
    if trial.returncode:
        lines = trial.stdout.splitlines()  # the last line is the error message
        raise WeightsError(lines[-1] if lines else f"{path.name} crashes the process that loads it: use other weights.")


def detect_on_test_page(path: Path) -> None:
    """Load weights and detect on a grey page, on the CPU.

    Raises:
        WeightsError: If the weights do not load, or detection fails.
    """
    import numpy as np

    from app.detection.detector import Detector, DetectorConfig
    from app.detection.weights import load_network

    network = load_network(path)
    try:
        Detector(network, DetectorConfig(size=320, device="cpu")).detect([np.full((320, 320, 3), 127, np.uint8)])
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error.message}") from error
    # A network from a file can raise any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path.name} loads, but detection on a test page fails: {reason}") from error


def main() -> None:
    gc.disable()  # a client waits: to search for garbage takes a third of the time
    from app.detection.weights import isolate_ultralytics

    isolate_ultralytics(Path(sys.argv[2]) if sys.argv[2:] else None)
    try:
        detect_on_test_page(Path(sys.argv[1]))
    except WeightsError as error:
        print(error.message)
        sys.exit(1)
    finally:
        gc.freeze()  # the end of a process searches, too


if __name__ == "__main__":
    main()
