"""The name and the YAML file that a client app sends for a data set.

Only ``names`` is believed, and ``kpt_shape`` for the length of the lines of a pose data set. Keys such as ``path``,
``train`` and ``download`` tell a trainer which paths to read and even which code to run
(https://docs.ultralytics.com/datasets/detect/); they are ignored.
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
_ADVICE = "send `names: [illustration]`, or `names:` with one line such as `0: illustration` for each class"


class PlainLoader(yaml.BaseLoader):
    """YAML loader for strings, lists and mappings; it rejects aliases, tags and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise RequestError("yaml_file has an alias (*): replace it by the value that it refers to.")
        if event.tag:
            raise RequestError(f"yaml_file has a tag ({event.tag[:40]!r}): remove it.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key in (key for key, count in keys.items() if count > 1):
            raise RequestError(f"yaml_file has the key {key[:40]!r} twice: remove one of them.")
        return super().construct_mapping(node, deep)


def check_dataset_name(name: str) -> str:
    """Return the name of a data set without the suffix ``.yaml``. It is also the name of its folder.

    Raises:
        RequestError: If the name has a character that is not allowed, or is too long.
    """
    found = strip_suffix(name.strip())
    if not _NAME.fullmatch(found):
        raise RequestError(
            f"{name[:100]!r} cannot be the name of a data set: use up to 100 letters, digits, '-', '_' and '.', "
            "starting with a letter or a digit. The name comes from the field name, or from the file name of yaml_file."
        )
    return found


def strip_suffix(name: str) -> str:
    """Return the name of a YAML file without its suffix."""
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in (".yaml", ".yml") else name


def parse_classes(data: bytes) -> tuple[str, ...]:
    """Return the class names in a YAML file, in the order of their ids.

    ``names`` is a list of unique names, or a mapping from the ids 0, 1, 2 … to unique names.

    Raises:
        RequestError: If the file is not YAML, or its ``names`` are invalid.
        TooLarge: If the file is larger than 100 kB.
    """
    names = _load(data).get("names")
    if isinstance(names, Mapping):
        names = _sort_by_id(names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f"yaml_file has no list of class names: {_ADVICE}.")
    return _check_classes([name.strip() for name in names])


def parse_keypoints(data: bytes) -> int:
    """Return the number of values that follow the box in a pose label: 51 for ``kpt_shape: [17, 3]``, else 0."""
    shape = _load(data).get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(re.fullmatch("[0-9]{1,3}", str(each)) for each in shape):
        return int(shape[0]) * int(shape[1])
    return 0


def _load(data: bytes) -> Mapping[Any, Any]:
    if len(data) > MOST_BYTES:
        raise TooLarge(f"yaml_file is too large: at most {MOST_BYTES // 1000} kB are accepted.")
    try:
        loaded = yaml.load(data.decode("utf-8-sig"), Loader=PlainLoader)  # noqa: S506 (creates only strings, lists and dicts)
    except UnicodeDecodeError as error:
        raise RequestError("yaml_file is not valid UTF-8: save it as UTF-8 text.") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RequestError(f"yaml_file is not valid YAML: syntax error{line} ({error.problem}).") from error
    # An invalid character, too deep nesting, or a key that is not hashable.
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        raise RequestError(f"yaml_file is not valid YAML: {_ADVICE}.") from error
    if not isinstance(loaded, Mapping):
        raise RequestError(f"yaml_file is not a YAML mapping: {_ADVICE}.")
    return loaded


def _sort_by_id(names: Mapping[Any, Any]) -> list[Any]:
    """Return the values of a mapping whose keys are 0, 1, 2 … in any order."""
    by_id = {int(key): name for key, name in names.items() if re.fullmatch(r"[0-9]{1,4}", str(key), re.ASCII)}
    if len(by_id) != len(names) or sorted(by_id) != list(range(len(by_id))):
        raise RequestError(f"The class ids in yaml_file are not 0, 1, 2 and so on: {_ADVICE}.")
    return [by_id[number] for number in sorted(by_id)]


def _check_classes(names: list[str]) -> tuple[str, ...]:
    if not names:
        raise RequestError(f"yaml_file has no classes: {_ADVICE}.")
    if len(names) > MOST_CLASSES:
        raise RequestError(f"yaml_file has {len(names)} classes: at most {MOST_CLASSES} are accepted.")
    for number, name in enumerate(names):
        if not name or not name.isprintable() or len(name) > LONGEST_CLASS:
            raise RequestError(
                f"The name of class {number} in yaml_file must be one line of 1 to {LONGEST_CLASS} printable "
                "characters."
            )
        if name in names[:number]:
            first = names.index(name)
            raise RequestError(f"yaml_file has the name {name!r} for the classes {first} and {number}: rename one.")
    return tuple(names)
