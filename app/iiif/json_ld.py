"""JSON-LD as libraries write it: a list where one thing is expected and the reverse, ``@id`` for ``id``.

Nothing here raises but :func:`read_json`, whatever a server sent: what is not as it should be reads as absent.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

# What stands around a value and says nothing of it: https://www.w3.org/TR/json-ld11/#keywords
_WRAPPERS = ("@set", "@list", "@graph", "@value")
LONGEST_ID = 2000  # characters of an id that is kept; none that is meant well is longer
_LARGEST_SIZE = 1_000_000_000  # a larger number of pixels is a mistake, and would overflow a float later


def read_json(data: bytes) -> Any:
    """Return what a JSON document holds; a label in another encoding, or with a line break in it, does no harm.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        try:
            return json.loads(data, strict=False)
        except UnicodeDecodeError:
            return json.loads(data.decode("utf-8-sig", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_list(value: Any) -> list[Any]:
    """Return what should be a list, or is one thing, or is missing, as a list.

    Lists in lists are laid flat and the wrappers of JSON-LD taken off.

    >>> read_list({"@set": ["a", ["b", {"@value": "c"}]]})
    ['a', 'b', 'c']
    """
    found: list[Any] = []
    waiting = [] if value is None else [value]
    while waiting:
        thing = waiting.pop()
        wrapper = next((key for key in _WRAPPERS if key in thing), None) if isinstance(thing, dict) else None
        if wrapper:
            waiting.append(thing[wrapper])
        elif isinstance(thing, list):
            waiting.extend(reversed(thing))
        else:
            found.append(thing)
    return found


def read_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in what should be a list of objects, or is one object."""
    return [item for item in read_list(value) if isinstance(item, dict)]


def read_nodes(value: Any) -> list[dict[str, Any]]:
    """Return the things in a list of things, of which an address alone is one too: it names the rest."""
    things = ({"id": item} if isinstance(item, str) else item for item in read_list(value))
    return [thing for thing in things if isinstance(thing, dict)]


def read_strings(value: Any) -> list[str]:
    """Return the strings in what should be a string, or is a list with some."""
    texts = [item for item in read_list(value) if isinstance(item, str)]
    # JSON can hold halves of a character (\ud800), which no file and no address can.
    return [re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text) for text in texts]


def read_ids(value: Any) -> list[str]:
    """Return the ids in what should be ids, or are things that have one."""
    return [name for node in read_nodes(value) if (name := read_id(node))]


def read_id(thing: Mapping[str, Any]) -> str:
    """Return the id of a thing, as it came, or "" when it has none."""
    ids = (value.strip() for key in ("id", "@id") for value in read_strings(thing.get(key)))
    return next(filter(None, ids), "")


def read_address(thing: Mapping[str, Any]) -> str:
    """Return the id of a thing that is to be fetched; ``//host/path`` leaves out the scheme."""
    return re.sub("^//", "https://", read_id(thing))


def read_kind(thing: dict[str, Any]) -> str:
    """Return the type of a thing without its namespace: ``Image`` for ``dctypes:Image``; "" when it has none.

    >>> read_kind({"@type": ["sc:Manifest"]})
    'Manifest'
    """
    kinds = (kind for key in ("type", "@type") for kind in read_strings(thing.get(key)))
    return re.split("[:#/]", next(filter(None, kinds), ""))[-1]


def read_size(value: Any) -> int | None:
    """Return a number of pixels, or None when it is none: zero, negative, a truth value, text, beyond all measure."""
    value = next(iter(read_list(value)), None)
    if isinstance(value, bool):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number <= _LARGEST_SIZE else None


def read_path(url: str) -> str:
    """Return the path of an address; of what is none, the whole."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url
