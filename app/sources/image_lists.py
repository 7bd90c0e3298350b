"""Parse a list of image URLs: ``{name: URL}``, a JSON list of URLs, or a text with one URL per line."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from app.iiif.canvas import CanvasImage
from app.iiif.image_api import derive_service
from app.net.urls import explain_address
from app.sources.listing import ListedPage
from app.sources.names import LONGEST_NAME, explain_name

# Members of IIIF documents. A list of images has none of them.
_IIIF = frozenset({"@context", "@type", "type", "sequences", "items", "manifests", "collections", "members"})
_NO_URL = "The list has no URL for this image."


def parse_image_list(data: bytes, check_count: Callable[[int], None] = lambda _: None) -> list[ListedPage] | None:
    """Return the images of a list, or None if the document is something else. Invalid entries have a reason.

    Args:
        data: Content of the document.
        check_count: Called with the number of entries before they are read, which takes long; raises to stop.
    """
    if b'"@context"' in data:  # a IIIF document, which may be so large that parsing it twice takes long
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    try:
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return _parse_lines(text, check_count)
    if not isinstance(found, list):
        return None
    if not found:
        return []
    if all(isinstance(entry, tuple) for entry in found):
        if _IIIF & {name for name, _ in found}:
            return None
        check_count(len(found))
        return _read_pairs(found)
    if not any(isinstance(entry, str) for entry in found):
        return None
    check_count(len(found))
    return _read_urls(found)


def _parse_lines(text: str, check_count: Callable[[int], None]) -> list[ListedPage] | None:
    if not text.lstrip()[:8].lower().startswith(("http://", "https://")):
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    check_count(len(lines))
    return _read_urls(lines)


def _read_pairs(pairs: Sequence[tuple[str, Any]]) -> list[ListedPage]:
    times = Counter(name for name, _ in pairs)
    return [_read_pair(name, url, times[name]) for name, url in dict(pairs).items()]


def _read_pair(name: str, url: Any, times: int) -> ListedPage:
    if fault := explain_name(name):
        shown = name.encode("ascii", "backslashreplace").decode()[:LONGEST_NAME]
        return ListedPage("", shown, f"Its name {fault}.")
    if times > 1:
        return ListedPage("", name, "The list has two images with this name.")
    page = _read_url(url)
    return ListedPage(page.place, name, page.reason)


def _read_urls(urls: Sequence[Any]) -> list[ListedPage]:
    """Return the images of a list without names. Each gets its own file name if no other image has the same."""
    pages = [_read_url(url) for url in urls]
    own = [
        "" if page.reason else CanvasImage(page.place, None, None, derive_service(page.place)).own_name
        for page in pages
    ]
    times = Counter(own)
    return [
        ListedPage(page.place, name if times[name] == 1 and not explain_name(name) else "", page.reason)
        for page, name in zip(pages, own, strict=True)
    ]


def _read_url(value: Any) -> ListedPage:
    if not isinstance(value, str):
        return ListedPage("", reason=_NO_URL)
    url = value.strip()
    fault = explain_address(url)
    return ListedPage("" if fault else url, reason=fault and f"Its URL {fault}.")
