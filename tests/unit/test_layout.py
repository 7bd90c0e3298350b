"""The structure that the README describes holds."""

import ast
import re
from pathlib import Path

import pytest

from app.config import ROOT

MODULES = sorted((ROOT / "app").rglob("*.py"))
# Each room of ``app`` and the rooms that it may import, from the bottom to the top: a room imports only rooms above it
# in this list, so that there are no circles. ``_`` stands for ``app/__init__.py``.
ALLOWED = {
    "errors": "",
    "logs": "",
    "config": "errors",
    "net": "errors",
    "images": "errors",
    "storage": "errors",
    "database": "config errors storage",
    "delivery": "database errors logs net",
    "iiif": "errors images net",
    "detection": "config errors images storage",
    "similarity": "errors storage",
    "training": "detection errors images net storage",
    "jobs": "database delivery errors net similarity storage training",
    "monitoring": "config database delivery errors jobs",
    "pipelines": "detection errors iiif images jobs net similarity storage training",
    "services": "config database delivery detection iiif jobs monitoring net storage training",
    "auth": "database delivery errors",
    "server": "auth config database errors logs services",
    "routes": "config database detection errors jobs monitoring server services similarity storage training",
    "workers": "config database delivery detection errors iiif jobs logs monitoring pipelines services similarity "
    "training",
    "commands": "auth database errors services",
    "_": "commands config routes server services workers",
    "app": "_ errors",
    "demo": "auth config database errors images",
}
# Packages that a Python prompt can use without the web framework and without the queue.
PLAIN = (
    "detection",
    "delivery",
    "iiif",
    "images",
    "net",
    "pipelines",
    "similarity",
    "storage",
    "training",
)
WEB = ("auth", "commands", "routes", "server", "services")


def find_room(path: Path) -> str:
    place = path.relative_to(ROOT / "app").parts[0].removesuffix(".py")
    return "_" if place == "__init__" else place


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


def split_imports(path: Path) -> list[list[str]]:
    """Return the imports of ``app`` of a module, in parts; ``from app import create_app`` is one of ``_``."""
    names = [name.split(".") for name in imports_of(path) if name != "app"]
    return [name if name[1] in ALLOWED else ["app", "_"] for name in names]


def list_outside(path: Path) -> set[str]:
    """Return the packages of others that a module imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_is_listed(room: str) -> None:
    for path in MODULES:
        if find_room(path) == room:
            imported = {part[1] for part in split_imports(path)}
            assert imported - {room} <= {*ALLOWED[room].split()}, path


def test_the_list_has_every_room_and_no_circle() -> None:
    assert {find_room(path) for path in MODULES} == set(ALLOWED)
    rooms = list(ALLOWED)
    for number, room in enumerate(rooms):
        assert set(ALLOWED[room].split()) <= set(rooms[:number]), room


def test_the_list_allows_nothing_that_no_module_uses() -> None:
    for room, allowed in ALLOWED.items():
        used = {part[1] for path in MODULES if find_room(path) == room for part in split_imports(path)}
        assert set(allowed.split()) - {"_"} <= used, room


def test_the_top_of_the_application_has_ten_modules_at_most() -> None:
    assert len([*(ROOT / "app").glob("*.py")]) <= 10


def test_what_works_without_the_frameworks_imports_none() -> None:
    for path in MODULES:
        if find_room(path) in PLAIN:
            assert not list_outside(path) & {"flask", "celery", "werkzeug"}, path


def test_the_web_application_never_imports_the_model_libraries() -> None:
    for path in MODULES:
        if find_room(path) in WEB:
            assert not list_outside(path) & {"torch", "torchvision", "numpy", "ultralytics", "cv2"}, path


@pytest.mark.parametrize(
    "package",
    [
        "database",
        "delivery",
        "detection",
        "iiif",
        "images",
        "jobs",
        "jobs/requests",
        "monitoring",
        "net",
        "server",
        "pipelines",
        "pipelines/detection",
        "pipelines/similarity",
        "pipelines/training",
        "routes",
        "similarity",
        "storage",
        "training",
        "workers",
    ],
)
def test_the_map_of_a_package_has_every_module(package: str) -> None:
    folder = ROOT / "app" / package
    text = (folder / "__init__.py").read_text()
    mapped = set(re.findall(r"^    (\w+)  +\S", text, re.MULTILINE))
    assert mapped == {path.stem for path in folder.glob("*.py")} - {"__init__"}
