"""A disk that is full while images are fetched."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.support.library import Library, Scan
from tests.support.service import open_service

SMALL = Scan(300, 400)


def test_a_full_disk_fails_the_job_with_the_reason_and_leaves_nothing_half_written(
    tmp_path: Path, small_models: Path, library: Library
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs a small file system of its own: unshare is not allowed here")
    # Every file takes a block of 4 kB and a page is two files: there is room for five pages of eight.
    mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=40k none "{images}" && exec "$0" "$@"']
    with open_service(tmp_path, mount, models_folder=small_models) as service:
        job = service.finish(service.detect(library.offer_manifest([SMALL] * 8)))
        assert (job["state"], job["error"]["code"]) == ("failed", "no_space")
        assert "no space left" in job["error"]["message"]
        seen = Path(f"/proc/{service.supervisor.pid}/root{images}")
        left = [path for path in seen.rglob("*") if path.is_file()]
        assert {path.suffix for path in left} <= {".image", ".json"}, "a part of a file was left"
        for path in left:
            check_whole(path)
            path.unlink()
        job = service.finish(service.detect(library.offer_manifest([SMALL])))
        assert job["state"] == "done", job["error"]


def check_whole(path: Path) -> None:
    if path.suffix == ".json":
        json.loads(path.read_bytes())
    else:
        with Image.open(path) as image:
            image.load()
