"""The units that the README has copied, and the one that stands in it."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from app.config import ROOT

UNITS = sorted((ROOT / "app" / "systemd").iterdir())
README = (ROOT / "README.md").read_text()


def test_every_unit_is_valid(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs the systemd-analyze command")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/srv/extractor/api", str(ROOT)))
    (in_readme,) = re.findall(r"```ini\n(\[Unit\].*?)```", README, re.DOTALL)
    (tmp_path / "extractor.service").write_text(in_readme.replace("/srv/extractor/api", str(ROOT)))
    (tmp_path / "extractor-worker@.service").rename(tmp_path / "extractor-worker@gpu.service")
    names = sorted(str(path) for path in tmp_path.iterdir())
    run = subprocess.run([analyze, "verify", "--man=no", *names], capture_output=True, text=True)
    # Messages about other units of this machine, and about programs that are not installed, are ignored.
    messages = [line for line in run.stderr.splitlines() if "extractor" in line and "nvidia-modprobe" not in line]
    assert [line for line in messages if "not found" not in line] == []


@pytest.mark.parametrize("queue", ["io", "gpu", "post"])
def test_systemd_and_supervisor_start_workers_with_the_same_command(queue: str) -> None:
    supervisor = ConfigParser(interpolation=None)
    supervisor.read(ROOT / "app" / "supervisord.conf")
    unit = (ROOT / "app" / "systemd" / "extractor-worker@.service").read_text()
    (line,) = re.findall(r"^ExecStart=/srv/extractor/api/venv/bin/(.*)$", unit, re.MULTILINE)
    command = supervisor[f"program:{queue}"]["command"].removeprefix('"%(ENV_BIN)s/').replace('"', "")
    assert line.replace("%i", queue) == command


def test_supervisor_passes_only_paths_and_whether_to_start_the_broker() -> None:
    """The processes read all other settings themselves."""
    variables = re.findall(r"%\(ENV_(\w+)\)s", (ROOT / "app" / "supervisord.conf").read_text())
    assert set(variables) == {"ROOT", "BIN", "DATA_FOLDER", "START_BROKER"}
