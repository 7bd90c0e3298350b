"""Peak memory of matching for large documents."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.config import ROOT
from app.similarity.matching import MatchConfig, match


def measure_matching(first_file: str, second_file: str, memory_mb: int) -> None:
    """Match two files of embeddings; print the number of matches and the growth of the peak memory in MiB.

    It runs in a subprocess. The files are memory-mapped and count as memory too.
    """
    torch.set_num_threads(1)
    small = np.eye(200, dtype=np.float32)
    match(small[None], small, MatchConfig(device="cpu", memory_mb=8))
    before = read_peak_memory()
    first, second = (np.load(path, mmap_mode="r") for path in (first_file, second_file))
    matches = match(first[None], second, MatchConfig(device="cpu", memory_mb=memory_mb))
    print(len(matches.first), read_peak_memory() - before)


def read_peak_memory() -> float:
    """Return the peak memory of this process, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.mark.parametrize(
    ("images", "dimension", "memory_mb", "equal"),
    [
        (5000, 32, 32, False),  # the full matrix: 95 MB
        (5000, 32, 32, True),  # all scores are equal
        (120, 200_704, 24, False),  # both documents in float32: 193 MB
    ],
)
def test_matching_memory_is_bounded(tmp_path: Path, images: int, dimension: int, memory_mb: int, equal: bool) -> None:
    paths = [tmp_path / "first.npy", tmp_path / "second.npy"]
    for seed, path in enumerate(paths):
        random = np.random.default_rng(0 if equal else seed)
        embeddings = random.standard_normal((1 if equal else images, dimension), dtype=np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
        np.save(path, np.broadcast_to(embeddings, (images, dimension)).astype(np.float16))
    files = sum(path.stat().st_size for path in paths) / (1 << 20)
    command = [
        sys.executable,
        "-m",
        "tests.integration.similarity.test_matching_memory",
        *map(str, paths),
        str(memory_mb),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    count, used = map(float, run.stdout.split())
    result = count * 200 / (1 << 20)  # each match in the result, twice as a candidate, and once more during sorting
    print(f"{used:.0f} MB, including {files:.0f} MB of files and at most {result:.0f} MB of results")
    assert used < memory_mb + files + result


if __name__ == "__main__":
    measure_matching(sys.argv[1], sys.argv[2], int(sys.argv[3]))
