"""Fill the disk while images are fetched."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.config import ROOT, Settings
from app.demo.service import build_environment
from tests.support.library import Library, Scan
from tests.support.service import TIMEOUT_SECONDS, kill

SMALL = Scan(300, 400)


@pytest.fixture
def full(settings: Settings) -> Iterator[Path]:
    """Run the worker that fetches images, on a file system for eight files; yield the folder as the worker sees it."""
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("`unshare` is not permitted here; the test needs it to mount a small file system")
    images = settings.data_folder / "images"
    images.mkdir(parents=True)
    # A page is two files, and every file takes a block of 4 kB: five of the eight pages fit.
    mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=40k none "{images}" && exec "$0" "$@"']
    with (settings.data_folder / "io.log").open("wb") as log:
        worker = subprocess.Popen(
            [*mount, sys.executable, "-m", "app.workers", "io"],
            env=build_environment(settings),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    yield Path(f"/proc/{worker.pid}/root{images}")
    kill([psutil.Process(worker.pid)])
    worker.wait()


def detect(client: FlaskClient, headers: dict[str, str], url: str) -> dict[str, Any]:
    """Request a detection; return the job when its download has ended."""
    job_id = client.post("/run_detect", headers=headers, data={"manifest_url": url}).json["job_id"]
    end = time.monotonic() + TIMEOUT_SECONDS
    while (job := client.get(f"/jobs/{job_id}", headers=headers).json)["state"] in ("queued", "downloading"):
        assert time.monotonic() < end, job
        time.sleep(0.05)
    return dict(job)


def test_a_full_disk_fails_the_job_and_leaves_no_partial_files(
    full: Path, client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    job = detect(client, headers, library.offer_manifest([SMALL] * 8))
    assert (job["state"], job["error"]["code"]) == ("failed", "no_space")
    assert "no space left" in job["error"]["message"]
    files = [path for path in full.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".image", ".json"}, "a partial file is left"
    for path in files:
        check_complete(path)
        path.unlink()
    job = detect(client, headers, library.offer_manifest([SMALL]))
    assert job["state"] == "running", job["error"]  # the next stage, for which no worker runs here
    assert len(list(full.rglob("*.image"))) == 1


def check_complete(path: Path) -> None:
    """Check that a JSON or image file can be read to its end."""
    if path.suffix == ".json":
        json.loads(path.read_bytes())
    else:
        with Image.open(path) as image:
            image.load()
