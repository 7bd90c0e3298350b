"""What ultralytics would tell others of a training, it does not."""

import os
import subprocess
import sys
from pathlib import Path

from app.config import ROOT

# Packages that ultralytics, or a package of its kind, reports to when they are installed.
PACKAGES = ("comet_ml", "wandb", "mlflow", "clearml", "dvclive", "neptune", "ray", "tensorboard")

# Outside of pytest, where ultralytics would be quiet of itself.
CODE = """
import sys
from pathlib import Path
from app.detection.weights import isolate_ultralytics

folder = Path(sys.argv[1])
isolate_ultralytics(folder / "settings")
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import SETTINGS, TESTS_RUNNING, callbacks


class PlainTrainer(DetectionTrainer):
    def get_dataset(self):
        return {"train": "", "val": "", "names": {0: "illustration"}, "nc": 1, "channels": 3}


assert not TESTS_RUNNING
dict.update(SETTINGS, dict.fromkeys(("comet", "wandb", "mlflow", "clearml", "dvc", "raytune", "tensorboard"), True))
trainer = PlainTrainer(overrides={"model": "yolov8n.yaml", "save_dir": str(folder / "run"), "device": "cpu"})
assert trainer.callbacks == callbacks.get_default_callbacks(), trainer.callbacks
"""


def test_no_integration_is_active_whatever_is_installed(tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / "packages" / name).mkdir(parents=True)
        note = f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r} + ' ')\n__version__ = '99'\n"
        (tmp_path / "packages" / name / "__init__.py").write_text(note)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "GITHUB"))}
    environment |= {"PYTHONPATH": str(tmp_path / "packages"), "ULTRALYTICS_API_KEY": "key", "COMET_API_KEY": "key"}
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    imported = tmp_path / "imported"
    assert not imported.exists(), imported.read_text()
