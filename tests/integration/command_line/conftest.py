"""Fixtures of the command line: a models folder with the included weights, and a function that runs a command."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.command_line.program import run
from app.config import ROOT

SAMPLE = ROOT / "iiif" / "sample"


@dataclass(frozen=True)
class Finished:
    """A command that has ended: its exit code, what it printed, and its files."""

    code: int
    stdout: str
    stderr: str

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON document, which must be all that is on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


Run = Callable[..., Finished]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``python -m app`` in this process, with settings that are independent of this machine."""
    for name, value in {
        "DATA_FOLDER": str(tmp_path / "data"),
        "DEVICE": "cpu",
        "PRECISION": "float32",
        "FETCH_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: object) -> Finished:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        said = capsys.readouterr()
        return Finished(code, said.out, said.err)

    return call


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with two pages of the sample: the first has one illustration, the second has none."""
    folder = tmp_path / "ms-1"
    folder.mkdir()
    for number, name in enumerate(("page_0001.jpg", "page_0003.jpg"), 1):
        shutil.copy(SAMPLE / name, folder / f"p{number}.jpg")
    return folder
