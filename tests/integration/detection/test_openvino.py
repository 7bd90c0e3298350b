"""OpenVINO as an installed package."""

import os
import subprocess
import sys
from pathlib import Path

from app.config import ROOT

CODE = (
    "import sys, torch",
    "from app.detection.openvino_network import OpenVinoNetwork",
    "OpenVinoNetwork(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 9, 9), (0,), torch.float32, 1)",
    "sys.exit(any(name.startswith('openvino_telemetry.') for name in sys.modules))",
)


def test_openvino_reports_nothing_to_its_vendor(tmp_path: Path) -> None:
    """Otherwise OpenVINO sends an event when it is imported, and stores an id of the user in the home folder."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "; ".join(CODE)], check=True, cwd=ROOT, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_openvino_fails_when_the_memory_does_not_suffice() -> None:
    """OpenVINO's ``infer`` returns the output of the last batch then, without an error."""
    script = Path(__file__).with_name("compute_with_little_memory.py")
    ended = subprocess.run([sys.executable, script], check=True, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.startswith("OpenVINO: ")
