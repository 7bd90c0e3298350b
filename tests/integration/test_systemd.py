"""The systemd units that the manual copies, and those that it shows."""

import os
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from app.config import ROOT
from tests.support.manual import find_block, read_page

UNITS = sorted((ROOT / "app" / "systemd").iterdir())


FOLDER = "/srv/extractor/api"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the shipped units, as they would be installed from this repository."""
    for unit in UNITS:
        write_unit(tmp_path / unit.name, unit.read_text())
    return tmp_path


def write_unit(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace(FOLDER, str(ROOT)))


def verify(folder: Path, *names: str) -> list[str]:
    """Return what ``systemd-analyze`` says about units of a folder; not about other units of this machine."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs the systemd-analyze command")
    command = [analyze, "verify", "--man=no", *(str(folder / name) for name in names)]
    run = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"}, check=False
    )
    lines = [line for line in run.stderr.splitlines() if "extractor" in line and "nvidia-modprobe" not in line]
    return [line for line in lines if "not found" not in line]


def test_every_shipped_unit_is_valid(units: Path) -> None:
    workers = [f"extractor-worker@{queue}.service" for queue in ("io", "gpu", "post")]
    assert verify(units, "extractor.target", "extractor-api.service", "extractor-schedule.service", *workers) == []


def test_the_single_unit_of_the_manual_is_valid(units: Path) -> None:
    write_unit(units / "extractor.service", find_block(read_page("docs/install.md"), "run.sh", "ini"))
    assert verify(units, "extractor.service") == []


def test_the_units_of_further_machines_are_valid(units: Path) -> None:
    page = read_page("docs/scaling.md")
    write_unit(units / "extractor.target", find_block(page, "[Install]", "ini"))
    write_unit(units / "extractor-worker@gpu2.service.d" / "gpu2.conf", find_block(page, "--name gpu2", "ini"))
    assert verify(units, "extractor.target", "extractor-worker@gpu2.service") == []


def test_a_unit_with_a_wrong_line_is_found(units: Path) -> None:
    write_unit(units / "extractor-worker@gpu2.service.d" / "gpu2.conf", "[Service]\nExecStart=no/absolute/path\n")
    assert verify(units, "extractor-worker@gpu2.service") != []


@pytest.mark.parametrize("queue", ["io", "gpu", "post"])
def test_systemd_and_supervisor_start_a_worker_in_the_same_way(queue: str) -> None:
    supervisor = ConfigParser(interpolation=None)
    supervisor.read(ROOT / "app" / "supervisord.conf")
    unit = (ROOT / "app" / "systemd" / "extractor-worker@.service").read_text()
    (line,) = re.findall(r"^ExecStart=/srv/extractor/api/venv/bin/(.*)$", unit, re.MULTILINE)
    command = supervisor[f"program:{queue}"]["command"].removeprefix('"%(ENV_BIN)s/').replace('"', "")
    assert line.replace("%i", queue) == command


def test_supervisor_passes_no_setting_to_a_process() -> None:
    """Each process reads its settings itself; supervisor knows only folders and whether to start a broker."""
    named = re.findall(r"%\(ENV_(\w+)\)s", (ROOT / "app" / "supervisord.conf").read_text())
    assert set(named) == {"ROOT", "BIN", "DATA_FOLDER", "START_BROKER"}
