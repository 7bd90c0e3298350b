"""JSON as somebody else wrote it, with nothing lost: a name that stands twice in an object is seen."""

import json
from collections import Counter
from typing import Any, NoReturn


class JsonObject(dict[str, Any]):
    """An object of a JSON document: of a name that stands twice, the last value, as ``json`` has it.

    Attributes:
        repeated: The names that stand more than once.
    """

    repeated: tuple[str, ...] = ()


def parse_json(document: str | bytes) -> Any:
    """Return what a JSON document holds, its objects as :class:`JsonObject`.

    Raises:
        ValueError: It is not JSON, or nested too deeply.
    """
    try:
        return json.loads(document, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _build_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) < len(pairs):
        found.repeated = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a value of JSON")
