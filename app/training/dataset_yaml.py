"""What a client app says of a data set: its name, and a YAML file, of which nothing but ``names`` is believed.

Such a file also has ``path``, ``train``, ``download`` and the like, which tell a trainer where to look and even what to
run (https://docs.ultralytics.com/datasets/detect/). They are read over.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from app.errors import RequestError, TooLarge

MOST_BYTES = 100_000
MOST_CLASSES = 1000
LONGEST_CLASS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ADVICE = "send names: [illustration], or names: with a line 0: illustration for each"


class PlainLoader(yaml.BaseLoader):
    """Reads texts, lists and mappings, and refuses what can grow, point elsewhere or stand for an object."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise RequestError("yaml_file has an alias (*): write out what it stands for.")
        if event.tag:
            raise RequestError(f"yaml_file has a tag ({event.tag[:40]!r}): leave it out.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key in (key for key, count in keys.items() if count > 1):
            raise RequestError(f"yaml_file has {key[:40]!r} twice.")
        return super().construct_mapping(node, deep)


def check_dataset_name(name: str) -> str:
    """Return the name of a data set, which becomes that of a folder; ``.yaml`` at its end is left out.

    Raises:
        RequestError: It has other characters than that needs.
    """
    found = strip_suffix(name.strip())
    if not _NAME.fullmatch(found):
        raise RequestError(
            f"{name[:100]!r} cannot be the name of a data set: take up to 100 letters, digits, '-', '_' and '.', the "
            "first a letter or a digit; it is the name of yaml_file without its ending, or the field name."
        )
    return found


def strip_suffix(name: str) -> str:
    """Return the name of a YAML file without its ending."""
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in (".yaml", ".yml") else name


def parse_classes(data: bytes) -> tuple[str, ...]:
    """Return the names of the classes that a YAML file lists, in the order of their ids.

    Raises:
        RequestError: It is no YAML, or its ``names`` are not a list, or a mapping from 0, 1, 2 …, of different names.
        TooLarge: It has more than 100 kB.
    """
    names = _load(data).get("names")
    if isinstance(names, Mapping):
        names = _sort_by_id(names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f"yaml_file has no list of names of classes: {_ADVICE}.")
    return _check_classes([name.strip() for name in names])


def _load(data: bytes) -> Mapping[Any, Any]:
    if len(data) > MOST_BYTES:
        raise TooLarge(f"yaml_file is too large: at most {MOST_BYTES // 1000} kB are accepted.")
    try:
        loaded = yaml.load(data.decode("utf-8-sig"), Loader=PlainLoader)  # noqa: S506 (it makes texts and nothing else)
    except UnicodeDecodeError as error:
        raise RequestError("yaml_file is not text: send it in UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RequestError(f"yaml_file is not YAML: there is a fault{line} ({error.problem}).") from error
    except (yaml.YAMLError, RecursionError, TypeError) as error:  # a character, a depth, a key that YAML has not
        raise RequestError(f"yaml_file is not YAML that can be read here: {_ADVICE}.") from error
    if not isinstance(loaded, Mapping):
        raise RequestError(f"yaml_file is YAML but no mapping: {_ADVICE}.")
    return loaded


def _sort_by_id(names: Mapping[Any, Any]) -> list[Any]:
    """Return the values of a mapping whose keys are 0, 1, 2 … in any order."""
    by_id = {int(key): name for key, name in names.items() if re.fullmatch(r"[0-9]{1,4}", str(key), re.ASCII)}
    if len(by_id) != len(names) or sorted(by_id) != list(range(len(by_id))):
        raise RequestError(f"The ids of the names in yaml_file are not 0, 1, 2 and so on: {_ADVICE}.")
    return [by_id[number] for number in sorted(by_id)]


def _check_classes(names: list[str]) -> tuple[str, ...]:
    if not names:
        raise RequestError(f"yaml_file names no class: {_ADVICE}.")
    if len(names) > MOST_CLASSES:
        raise RequestError(f"yaml_file names {len(names)} classes: at most {MOST_CLASSES} are accepted.")
    for number, name in enumerate(names):
        if not name or not name.isprintable() or len(name) > LONGEST_CLASS:
            raise RequestError(
                f"The name of class {number} in yaml_file is not one line of 1 to {LONGEST_CLASS} characters."
            )
        if name in names[:number]:
            raise RequestError(f"yaml_file gives the name {name!r} to two classes: {names.index(name)} and {number}.")
    return tuple(names)
