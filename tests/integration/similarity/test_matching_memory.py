"""Peak memory of matching for large documents."""

import json
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.config import ROOT
from app.similarity.matching import MatchConfig, match

# Name → images of each document, dimension, limit in MB, whether all scores are equal.
CASES = {
    "many images": (5000, 32, 8, False),  # the full matrix: 95 MB
    "equal scores": (5000, 32, 32, True),
    "large embeddings": (120, 200_704, 24, False),  # both documents in float32: 193 MB
}


def measure_matching(first_file: str, second_file: str, memory_mb: int) -> tuple[int, float]:
    """Match two files of embeddings; return the number of matches and the growth of the peak memory in MiB.

    The files are memory-mapped and count as memory too.
    """
    torch.set_num_threads(1)
    small = np.eye(200, dtype=np.float32)
    match(small[None], small, MatchConfig(device="cpu", memory_mb=8))
    before = read_peak_memory()
    first, second = (np.load(path, mmap_mode="r") for path in (first_file, second_file))
    matches = match(first[None], second, MatchConfig(device="cpu", memory_mb=memory_mb))
    return len(matches.first), read_peak_memory() - before


def read_peak_memory() -> float:
    """Return the peak memory of this process, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def run_cases(folder: Path) -> dict[str, tuple[int, float]]:
    """Measure each case in a fork of this process, which has nothing in memory but its imports."""
    context = multiprocessing.get_context("fork")
    measured = {}
    for name, (_, _, memory_mb, _) in CASES.items():
        with context.Pool(1) as pool:
            files = (str(folder / f"{name}, {which}.npy") for which in ("first", "second"))
            measured[name] = pool.apply(measure_matching, (*files, memory_mb))
    return measured


def write_embeddings(folder: Path, name: str) -> None:
    images, dimension, _, equal = CASES[name]
    for seed, which in enumerate(("first", "second")):
        random = np.random.default_rng(0 if equal else seed)
        embeddings = random.standard_normal((1 if equal else images, dimension), dtype=np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
        np.save(folder / f"{name}, {which}.npy", np.broadcast_to(embeddings, (images, dimension)).astype(np.float16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embeddings")
    for name in CASES:
        write_embeddings(folder, name)
    return folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, tuple[int, float]]:
    """The result of ``measure_matching`` for each case. A new process measures it, because this one is larger."""
    command = [sys.executable, "-m", "tests.integration.similarity.test_matching_memory", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, tuple[int, float]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", CASES)
def test_matching_memory_is_bounded(folder: Path, measured: dict[str, tuple[int, float]], name: str) -> None:
    (count, used), memory_mb = measured[name], CASES[name][2]
    files = sum(path.stat().st_size for path in folder.glob(f"{name}, *.npy")) / (1 << 20)
    result = count * 200 / (1 << 20)  # each match in the result, twice as a candidate, and once more during sorting
    print(f"{used:.0f} MB, including {files:.0f} MB of files and at most {result:.0f} MB of results")
    assert used < memory_mb + files + result


if __name__ == "__main__":
    print(json.dumps(run_cases(Path(sys.argv[1]))))
