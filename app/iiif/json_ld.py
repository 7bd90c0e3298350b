"""Read values from JSON-LD in all forms that libraries use, such as a list for a single value or ``@id`` for ``id``.

Malformed values count as absent. Only :func:`read_json` raises.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

# Keywords that only wrap a value: https://www.w3.org/TR/json-ld11/#keywords
_WRAPPERS = ("@set", "@list", "@graph", "@value")
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z]{1,8})*")
LONGEST_ID = 2000  # longer IDs are cut to this many characters
_LARGEST_SIZE = 1_000_000_000  # larger numbers of pixels are mistakes and would overflow a float later


def read_json(data: bytes) -> Any:
    """Parse a JSON document. Invalid UTF-8 and control characters in strings are accepted.

    Raises:
        ValueError: The document is not JSON.
    """
    try:
        try:
            return json.loads(data, strict=False)
        except UnicodeDecodeError:
            return json.loads(data.decode("utf-8-sig", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_list(value: Any) -> list[Any]:
    """Return a value as a list: a single value becomes a list of one, an absent value an empty list.

    Nested lists are flattened and the wrappers of JSON-LD removed.

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
    """Return the objects in a value, as a list."""
    return [item for item in read_list(value) if isinstance(item, dict)]


def read_nodes(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a value, as a list. A string becomes an object with this ID."""
    things = ({"id": item} if isinstance(item, str) else item for item in read_list(value))
    return [thing for thing in things if isinstance(thing, dict)]


def read_strings(value: Any) -> list[str]:
    """Return the strings in a value, as a list."""
    texts = [item for item in read_list(value) if isinstance(item, str)]
    # JSON may contain unpaired surrogates (\ud800), which cannot be encoded in a file or a URL, and NUL, which
    # PostgreSQL does not store.
    return [re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text) for text in texts]


def read_texts(value: Any) -> dict[str, list[str]]:
    """Return a text as a language map of Presentation 3. Texts without a valid language have the key ``none``.

    >>> read_texts([{"@value": "page", "@language": "en"}, "1r"])
    {'en': ['page'], 'none': ['1r']}
    """
    texts: dict[str, list[str]] = {}
    for item in value if isinstance(value, list) else [value]:
        parts = item if isinstance(item, dict) else {"none": item}
        if "@value" in parts:
            parts = {str(parts.get("@language") or "none"): parts["@value"]}
        for language, words in parts.items():
            if found := read_strings(words):
                texts.setdefault(language if _LANGUAGE.fullmatch(language) else "none", []).extend(found)
    return texts


def read_ids(value: Any) -> list[str]:
    """Return the IDs in a value: its strings, and the IDs of its objects."""
    return [name for node in read_nodes(value) if (name := read_id(node))]


def read_id(thing: Mapping[str, Any]) -> str:
    """Return the ID of an object, or "" if it has none."""
    ids = (value.strip() for key in ("id", "@id") for value in read_strings(thing.get(key)))
    return next(filter(None, ids), "")


def read_address(thing: Mapping[str, Any], document: str = "") -> str:
    """Return the ID of an object as a URL to fetch.

    A relative ID is resolved against the URL of the document: https://www.w3.org/TR/json-ld11/#base-iri
    Without a document, ``//host/path`` gets the scheme ``https``.
    """
    address = read_id(thing)
    if not address or _ABSOLUTE.match(address):
        return address
    if not document:
        return re.sub("^//", "https://", address)
    try:
        return urljoin(document, address)
    except ValueError:
        return address


def upgrade(url: str, *others: str) -> str:
    """Return a URL with the scheme ``https`` if another URL has this scheme and the same host."""
    host = url.removeprefix("http://").partition("/")[0]
    if url.startswith("http://") and any(f"{other}/".startswith(f"https://{host}/") for other in others):
        return f"https://{url.removeprefix('http://')}"
    return url


def is_web_address(text: str) -> bool:
    """Return whether a text starts like a URL to fetch."""
    return text[:8].lower().startswith(("http://", "https://"))


def read_kind(thing: dict[str, Any]) -> str:
    """Return the type of an object without its namespace (``Image`` for ``dctypes:Image``), or "" if it has none.

    >>> read_kind({"@type": ["sc:Manifest"]})
    'Manifest'
    """
    kinds = (kind for key in ("type", "@type") for kind in read_strings(thing.get(key)))
    return re.split("[:#/]", next(filter(None, kinds), ""))[-1]


def read_size(value: Any) -> int | None:
    """Return a number of pixels, or None if the value is not a positive number of plausible size."""
    value = next(iter(read_list(value)), None)
    if isinstance(value, bool):
        return None
    try:
        number = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number <= _LARGEST_SIZE else None


def read_path(url: str) -> str:
    """Return the path of a URL, or the whole text if it is not a valid URL."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url
