"""The structure that the README describes holds."""

import ast
import re
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


def test_no_module_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


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
