"""JSON-LD as libraries write it: a list where one thing is expected and the reverse, ``@id`` for ``id``.

Nothing here raises, whatever a server sent: what is not as it should be reads as absent.
"""

import re
from typing import Any

_LARGEST_SIZE = 1_000_000_000  # a larger number of pixels is a mistake, and would overflow a float later


def read_list(value: Any) -> list[Any]:
    """Return what should be a list, or is one thing, or is missing, as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def read_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in what should be a list of objects, or is one object."""
    return [item for item in read_list(value) if isinstance(item, dict)]


def read_strings(value: Any) -> list[str]:
    """Return the strings in what should be a string, or is a list with some."""
    return [item for item in read_list(value) if isinstance(item, str)]


def read_id(thing: dict[str, Any]) -> str:
    """Return the id of a thing, as it came, or "" when it has none."""
    ids = [value.strip() for key in ("id", "@id") for value in read_strings(thing.get(key))]
    # JSON can hold halves of a character (\ud800), which no file and no address can.
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", next(filter(None, ids), ""))


def read_kind(thing: dict[str, Any]) -> str:
    """Return the type of a thing without its namespace: ``Image`` for ``dctypes:Image``; "" when it has none.

    >>> read_kind({"@type": ["sc:Manifest"]})
    'Manifest'
    """
    kinds = [kind for key in ("type", "@type") for kind in read_strings(thing.get(key))]
    return re.split("[:#/]", next(filter(None, kinds), ""))[-1]


def read_size(value: Any) -> int | None:
    """Return a number of pixels, or None when it is none: zero, negative, a truth value, text, beyond all measure."""
    if isinstance(value, bool):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number <= _LARGEST_SIZE else None
