"""Ultralytics does not report trainings to external services."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import ROOT
from app.detection.weights import isolate_ultralytics

# Packages to which ultralytics or similar packages report as soon as they are installed.
PACKAGES = ("comet_ml", "wandb", "mlflow", "clearml", "dvclive", "neptune", "ray", "tensorboard")


def create_trainer(folder: Path) -> None:
    """Create a trainer with all integrations enabled.

    It runs in a subprocess, because under pytest ultralytics turns its integrations off by itself.
    """
    isolate_ultralytics(folder / "settings")
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import SETTINGS, TESTS_RUNNING, callbacks

    class PlainTrainer(DetectionTrainer):
        def get_dataset(self) -> dict[str, Any]:
            return {"train": "", "val": "", "names": {0: "illustration"}, "nc": 1, "channels": 3}

    assert not TESTS_RUNNING
    dict.update(SETTINGS, dict.fromkeys(("comet", "wandb", "mlflow", "clearml", "dvc", "raytune", "tensorboard"), True))
    trainer = PlainTrainer(overrides={"model": "yolov8n.yaml", "save_dir": str(folder / "run"), "device": "cpu"})
    assert trainer.callbacks == callbacks.get_default_callbacks(), trainer.callbacks


def test_ultralytics_imports_no_installed_integration(tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / "packages" / name).mkdir(parents=True)
        note = f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r} + ' ')\n__version__ = '99'\n"
        (tmp_path / "packages" / name / "__init__.py").write_text(note)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "GITHUB"))}
    environment |= {"PYTHONPATH": str(tmp_path / "packages"), "ULTRALYTICS_API_KEY": "key", "COMET_API_KEY": "key"}
    command = [sys.executable, "-m", "tests.integration.training.test_integrations", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    imported = tmp_path / "imported"
    assert not imported.exists(), imported.read_text()


if __name__ == "__main__":
    create_trainer(Path(sys.argv[1]))
