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


def test_every_unit_is_good(tmp_path: Path) -> None:
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
    # Of the machine's own units and of what is not installed on it nothing is asked.
    said = [line for line in run.stderr.splitlines() if "extractor" in line and "nvidia-modprobe" not in line]
    assert [line for line in said if "not found" not in line] == []


@pytest.mark.parametrize("queue", ["io", "gpu", "post"])
def test_a_worker_has_the_same_options_under_systemd_and_under_supervisor(queue: str) -> None:
    supervisor = ConfigParser(interpolation=None)
    supervisor.read(ROOT / "app" / "supervisord.conf")
    command = supervisor[f"program:{queue}"]["command"].replace("%(ENV_IO_THREADS)s", "32")
    unit = (ROOT / "app" / "systemd" / "extractor-worker@.service").read_text()
    (line,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    options = dict(re.findall(r'"(\w+)=([^"]*)"', unit))
    assert line.replace("$%i", options[queue]).replace("%i", queue) == command.split(" ", 1)[1]
