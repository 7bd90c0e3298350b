"""The structure that the README describes holds."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT

MODULES = sorted((ROOT / "app").rglob("*.py"))
LOWER = ("iiif", "detection", "similarity", "storage", "delivery", "training")


def imports_of(path: Path) -> set[str]:
    """Return the modules of ``app`` that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("app.")}
    return found


def test_the_web_process_stays_small(tmp_path: Path) -> None:
    code = "import sys, app.app; print([m for m in ('torch', 'numpy', 'ultralytics', 'cv2') if m in sys.modules])"
    environment = {"PATH": "", "DATABASE_URL": f"sqlite:///{tmp_path}/x.db", "DATA_FOLDER": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_what_delivers_new_weights_stays_small() -> None:
    code = "import sys, app.pipelines.training.publishing; print([m for m in ('torch', 'cv2') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_imports_go_downwards_only() -> None:
    for path in MODULES:
        place = path.relative_to(ROOT / "app").parts
        imported = imports_of(path)
        if place[0] == "routes":
            forbidden = ("app.pipelines", "app.workers.tasks", "app.iiif")
        elif place[0].removesuffix(".py") in LOWER:
            forbidden = ("app.routes", "app.workers.tasks", "app.workers.queue", "app.pipelines", "app.jobs")
        elif place[0] == "pipelines":
            forbidden = ("app.routes", "app.workers.tasks", "app.workers.queue")
        else:
            continue
        assert not [name for name in imported if name.startswith(forbidden)], path


def test_the_lower_layers_know_neither_flask_nor_celery() -> None:
    for path in MODULES:
        if path.relative_to(ROOT / "app").parts[0].removesuffix(".py") in LOWER:
            nodes = list(ast.walk(ast.parse(path.read_text())))
            names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
            names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
            assert not [name for name in names if name.split(".")[0] in ("flask", "celery", "werkzeug")], path


@pytest.mark.parametrize(
    "package", ["detection", "iiif", "images", "monitoring", "net", "similarity", "storage", "training"]
)
def test_the_map_of_a_package_has_every_module(package: str) -> None:
    folder = ROOT / "app" / package
    text = (folder / "__init__.py").read_text()
    mapped = set(re.findall(r"^    (\w+)  +\S", text, re.MULTILINE))
    assert mapped == {path.stem for path in folder.glob("*.py")} - {"__init__"}
