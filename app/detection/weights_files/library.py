"""The layers of the installed ultralytics, read from its source without importing it.

Weights are Python objects of the release that saved them. Ultralytics has moved its layers between modules, and forks
and other releases have layers of the same name with other parts. The web process must know this without torch.
"""

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Layers that were removed, by the torch class that does the same.
REPLACED = {"Silence": "torch.nn.modules.linear.Identity"}


@dataclass
class Layer:
    """A layer class.

    Attributes:
        module: Name of its module.
        bases: Names of its base classes.
        parts: Names of attributes in its source, without those of its bases.
    """

    module: str
    bases: list[str]
    parts: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Library:
    """The installed release of ultralytics."""

    version: str
    layers: dict[str, Layer]

    def has_part(self, name: str, part: str) -> bool:
        """Return whether the source of a layer, or of one of its bases, uses an attribute."""
        layer = self.layers.get(name)
        if layer is None:
            return name != "Module"  # other classes of torch, as ModuleList, take any part
        return part in layer.parts or any(self.has_part(base, part) for base in layer.bases)


@cache
def load_library() -> Library:
    """Read the classes of ``ultralytics.nn.modules`` from their files."""
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("ultralytics is not installed")
    folder = Path(spec.origin).parent
    version = re.search(r'__version__ = "([\w.+]+)"', Path(spec.origin).read_text(encoding="utf-8"))
    layers = {}
    for path in sorted((folder / "nn" / "modules").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                layers[node.name] = _read_layer(node, f"ultralytics.nn.modules.{path.stem}")
    return Library(version[1] if version else "", layers)


def _read_layer(node: ast.ClassDef, module: str) -> Layer:
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
    layer = Layer(module, bases)
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self":
            layer.parts.add(each.attr)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.isidentifier():
            layer.parts.add(each.value)  # for getattr and hasattr
    return layer
