"""Fill the disk while images are fetched."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.support.library import Library, Scan
from tests.support.service import open_service

SMALL = Scan(300, 400)


def test_a_full_disk_fails_the_job_and_leaves_no_partial_files(
    tmp_path: Path, small_models: Path, library: Library
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("`unshare` is not permitted here; the test needs it to mount a small file system")
    # A page is two files, and every file takes a block of 4 kB: five of the eight pages fit.
    mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=40k none "{images}" && exec "$0" "$@"']
    with open_service(tmp_path, mount, models_folder=small_models) as service:
        job = service.wait_until_finished(service.detect(library.offer_manifest([SMALL] * 8)))
        assert (job["state"], job["error"]["code"]) == ("failed", "no_space")
        assert "no space left" in job["error"]["message"]
        mounted = Path(f"/proc/{service.supervisor.pid}/root{images}")
        files = [path for path in mounted.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} <= {".image", ".json"}, "a partial file is left"
        for path in files:
            check_complete(path)
            path.unlink()
        job = service.wait_until_finished(service.detect(library.offer_manifest([SMALL])))
        assert job["state"] == "done", job["error"]


def check_complete(path: Path) -> None:
    """Check that a JSON or image file can be read to its end."""
    if path.suffix == ".json":
        json.loads(path.read_bytes())
    else:
        with Image.open(path) as image:
            image.load()
