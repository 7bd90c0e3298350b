"""Processes import torch, numpy and similar packages only where they use them."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT

DEFAULT = ROOT / "models" / "illustrations.pt"


def test_the_api_imports_no_large_package(tmp_path: Path) -> None:
    code = "from app.app import app; print([m for m in ('torch', 'numpy', 'ultralytics', 'cv2') if m in sys.modules])"
    check_imports(code, tmp_path)


def test_the_workers_and_the_schedule_import_no_routes(tmp_path: Path) -> None:
    names = ("app.routes", "app.web", "app.aikon", "flask_limiter")
    check_imports(f"from app.app import celery; print([m for m in {names} if m in sys.modules])", tmp_path)


@pytest.mark.parametrize(("queues", "models"), [("gpu", "none"), ("io post", DEFAULT.parent)])
def test_a_worker_that_detects_nothing_imports_no_torch(tmp_path: Path, queues: str, models: Path | str) -> None:
    code = f"""
from app.app import celery
from celery.signals import worker_init
celery.services.models.folder = __import__("pathlib").Path({str(models)!r})
celery.amqp.queues.select({queues.split()})
celery.loader.import_default_modules()
worker_init.send(sender=None)
print([m for m in ("torch", "numpy") if m in sys.modules])"""
    check_imports(code, tmp_path)


def check_imports(code: str, folder: Path) -> None:
    """Check that a program, which makes its database in a folder, prints an empty list."""
    environment = {"PATH": "", "DATABASE_URL": f"sqlite:///{folder}/x.db", "DATA_FOLDER": str(folder)}
    command = [sys.executable, "-c", f"import sys\n{code}"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_the_command_line_starts_without_large_packages() -> None:
    code = (
        "import sys, app.command_line.program; print([m for m in ('torch', 'numpy', 'sqlalchemy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_publishing_weights_imports_no_torch() -> None:
    code = "import sys, app.pipelines.training.publishing; print([m for m in ('torch', 'cv2') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_names_of_backbones_are_validated_without_torch() -> None:
    code = "import sys, app.similarity.backbones; print([m for m in ('torch', 'timm', 'numpy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_scores_are_formatted_without_numpy() -> None:
    names = ("scores", "scored_pairs", "transpositions", "verified_pairs")
    code = (
        "".join(f"import app.similarity.{name}; " for name in names) + "import sys; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_weights_are_described_without_torch_or_numpy() -> None:
    code = f"""
import sys
from pathlib import Path
from app.detection.weights_description import describe
from app.detection.weights import Weights
assert not describe(Weights.at(Path({str(DEFAULT)!r}))).error
print([m for m in ("torch", "numpy", "ultralytics", "cv2") if m in sys.modules])"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_the_kinds_of_jobs_import_no_worker() -> None:
    code = "import sys, app.jobs.job_kinds; print([m for m in sys.modules if m.startswith('app.workers')])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_groups_and_pictures_of_pairs_are_made_without_numpy() -> None:
    code = "import sys, app.jobs.job_groups, app.jobs.pair_pictures; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr
