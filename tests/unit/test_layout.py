"""Check the structure of ``app``: which module imports which, the length of modules, and the maps of packages."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from app.config import ROOT

MODULES = sorted((ROOT / "app").rglob("*.py"))
# Each package or module at the top of ``app``, and those that it may import. The lowest layer comes first: an entry may
# import only entries above it in this list, which excludes import cycles. ``_`` stands for ``app/__init__.py``.
ALLOWED = {
    "errors": "",
    "logs": "",
    "devices": "errors",
    "setting_urls": "",
    "config": "errors setting_urls",
    "net": "errors",
    "images": "errors",
    "storage": "errors",
    "database": "config errors storage",
    "delivery": "database errors logs net",
    "iiif": "errors images net storage",
    "sources": "errors iiif images net storage",
    "detection": "config devices errors images storage",
    "similarity": "detection devices errors net storage",
    "exports": "config detection errors iiif images similarity sources storage",
    "training": "detection devices errors images net storage",
    "jobs": "database delivery errors images net similarity sources storage training",
    "monitoring": "config database delivery errors jobs",
    "pipelines": "config detection errors exports iiif images jobs net similarity sources storage training",
    "services": "config database delivery detection iiif jobs monitoring net storage training",
    "auth": "database delivery errors jobs",
    "server": "auth config database errors logs services setting_urls",
    "routes": "config database detection errors exports iiif images jobs monitoring server services similarity sources "
    "storage training",
    "web": "database detection errors exports images jobs net routes server services similarity storage",
    "workers": "config database delivery detection devices errors iiif jobs logs monitoring pipelines services "
    "setting_urls similarity sources storage training",
    "command_line": "auth config database detection devices errors exports iiif images jobs net pipelines services "
    "similarity sources storage training",
    "aikon": "database delivery detection errors exports jobs net routes services similarity",
    "_": "aikon command_line config routes server services web workers",
    "app": "_ errors",
    "__main__": "command_line",
    "demo": "auth config database detection errors images",
}
# Packages that work without Flask and Celery.
INDEPENDENT = (
    "devices",
    "detection",
    "delivery",
    "exports",
    "iiif",
    "images",
    "net",
    "pipelines",
    "similarity",
    "sources",
    "storage",
    "training",
)
# Packages of the web application.
WEB = ("aikon", "auth", "routes", "server", "services", "web")


def find_package(path: Path) -> str:
    """Return the entry of ``ALLOWED`` that a file belongs to."""
    name = path.relative_to(ROOT / "app").parts[0].removesuffix(".py")
    return "_" if name == "__init__" else name


def list_app_imports(path: Path) -> set[str]:
    """Return the names under ``app`` that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("app.")}
    return found


def test_no_module_has_more_than_300_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def split_imports(path: Path) -> list[list[str]]:
    """Return the imports from ``app``, split at the dots; ``from app import create_app`` is ``["app", "_"]``."""
    names = [name.split(".") for name in list_app_imports(path)]
    return [name if name[1] in ALLOWED else ["app", "_"] for name in names]


def list_imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_allowed_packages(package: str) -> None:
    for path in MODULES:
        if find_package(path) == package:
            imported = {part[1] for part in split_imports(path)}
            assert imported - {package} <= {*ALLOWED[package].split()}, path


def test_allowed_imports_cover_every_package_without_cycles() -> None:
    assert {find_package(path) for path in MODULES} == set(ALLOWED)
    packages = list(ALLOWED)
    for number, package in enumerate(packages):
        assert set(ALLOWED[package].split()) <= set(packages[:number]), package


def test_modules_do_not_import_each_other_in_a_cycle() -> None:
    """Imports inside functions and for type checking count, too."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    imports = {
        name: {each if each in names else each.rpartition(".")[0] for each in list_app_imports(path)}
        for name, path in names.items()
    }
    TopologicalSorter(imports).prepare()  # the error lists the modules of a cycle


def test_every_allowed_import_is_used() -> None:
    for package, allowed in ALLOWED.items():
        used = {part[1] for path in MODULES if find_package(path) == package for part in split_imports(path)}
        assert set(allowed.split()) - {"_"} <= used, package


def test_app_has_at_most_ten_top_level_modules() -> None:
    assert len([*(ROOT / "app").glob("*.py")]) <= 10


def test_sqlalchemy_aliases_are_built_inside_functions() -> None:
    """Threads that share an alias may get columns of its table: the first access to its columns has no lock."""
    for path in MODULES:
        statements = ast.parse(path.read_text()).body
        inside = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ImportFrom)
        outside = [each for each in statements if not isinstance(each, inside)]
        assert "aliased(" not in "".join(map(ast.unparse, outside)), path


def test_independent_packages_do_not_import_web_or_queue_frameworks() -> None:
    for path in MODULES:
        if find_package(path) in INDEPENDENT:
            assert not list_imported_packages(path) & {"flask", "celery", "werkzeug"}, path


def test_web_packages_do_not_import_model_libraries() -> None:
    for path in MODULES:
        if find_package(path) in WEB:
            assert not list_imported_packages(path) & {"torch", "torchvision", "numpy", "ultralytics", "cv2"}, path


@pytest.mark.parametrize(
    "package",
    [
        "command_line",
        "aikon",
        "database",
        "delivery",
        "detection",
        "detection/weights_files",
        "exports",
        "iiif",
        "images",
        "jobs",
        "jobs/requests",
        "monitoring",
        "net",
        "server",
        "pipelines",
        "pipelines/detection",
        "pipelines/search",
        "pipelines/similarity",
        "pipelines/training",
        "routes",
        "similarity",
        "sources",
        "storage",
        "training",
        "training/label_formats",
        "web",
        "workers",
    ],
)
def test_the_docstring_of_a_package_lists_every_module(package: str) -> None:
    folder = ROOT / "app" / package
    text = (folder / "__init__.py").read_text()
    mapped = set(re.findall(r"^    (\w+)  +\S", text, re.MULTILINE))
    assert mapped == {path.stem for path in folder.glob("*.py")} - {"__init__"}
