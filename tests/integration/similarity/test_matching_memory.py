"""The memory of a process that matches, whatever the size of the documents."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.config import ROOT

# Peak memory of a process that matches, less what it had before; the files are mapped and count as well.
PROGRAM = r"""
import re, sys
from pathlib import Path
import numpy as np
import torch
from app.similarity.matching import MatchConfig, match
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
torch.set_num_threads(1)
small = np.eye(200, dtype=np.float32)
match(small[None], small, MatchConfig(device="cpu", memory_mb=8))
before = peak()
first, second = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
matches = match(first[None], second, MatchConfig(device="cpu", memory_mb=int(sys.argv[3])))
print(len(matches.first), peak() - before)
"""


@pytest.mark.parametrize(
    ("images", "dimension", "memory_mb", "equal"),
    [
        (5000, 32, 32, False),  # the full matrix: 95 MB
        (5000, 32, 32, True),  # every score is as good as any other
        (120, 200_704, 24, False),  # both documents in float32: 193 MB
    ],
)
def test_memory_is_bounded(tmp_path: Path, images: int, dimension: int, memory_mb: int, equal: bool) -> None:
    paths = [tmp_path / "first.npy", tmp_path / "second.npy"]
    for seed, path in enumerate(paths):
        random = np.random.default_rng(0 if equal else seed)
        embeddings = random.standard_normal((1 if equal else images, dimension), dtype=np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
        np.save(path, np.broadcast_to(embeddings, (images, dimension)).astype(np.float16))
    files = sum(path.stat().st_size for path in paths) / (1 << 20)
    command = [sys.executable, "-c", PROGRAM, *map(str, paths), str(memory_mb)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    count, used = map(float, run.stdout.split())
    result = count * 200 / (1 << 20)  # a match, twice as a candidate, and once more while they are sorted
    print(f"{used:.0f} MB, of which {files:.0f} files and at most {result:.0f} result")
    assert used < memory_mb + files + result
