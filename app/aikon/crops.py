"""The crops that fronts send with documents: boxes on pages, in any of the forms that fronts use.

============  =========================================================================================
box           coordinates
============  =========================================================================================
``absolute``  object with ``x1``, ``y1``, and ``width``, ``height`` or ``x2``, ``y2``, in pixels
``bbox``      list ``[x, y, width, height]`` in pixels
``relative``  either of these forms, in shares of the ``width`` and ``height`` that the page has
============  =========================================================================================

A box as shares of a page of unknown size is refused: the page is fetched after the answer.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import RequestError
from app.jobs.requests.reading import show

Box = tuple[int, int, int, int]
_CORNERS = ("x1", "y1", "x2", "y2")


def read_crops(entries: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the crops of each document, as a source of a similarity job has them.

    Args:
        entries: Pages with ``doc_uid``, ``source`` and a list ``crops``, or single crops with the same members.

    Raises:
        RequestError: An entry is malformed.
    """
    if not isinstance(entries, list):
        raise RequestError("crops must be a list of pages with doc_uid, source and crops.")
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, page in enumerate(entries, 1):
        where = f"crops, entry {number}"
        if not isinstance(page, dict) or not isinstance(crops := page.get("crops", [page]), list):
            raise RequestError(f"{where} is not a page with doc_uid, source and a list of crops.")
        uid, source = page.get("doc_uid") or page.get("document"), page.get("source")
        if not isinstance(uid, str) or not isinstance(source, str):
            raise RequestError(f"{where} has no doc_uid or no source: send the ID of the document and the image name.")
        for crop in crops:
            if not isinstance(crop, dict) or not (box := read_box(crop, page)):
                raise RequestError(f"{where} has a crop without absolute, or relative with the size of the page.")
            name = str(crop.get("crop_id") or "")
            found[uid].append({"image_name": source, "xywh": [*box], **({"name": name} if name else {})})
    return dict(found)


def read_box(crop: Mapping[str, Any], page: Mapping[str, Any]) -> Box | None:
    """Return the box of a crop as ``x y w h`` in pixels; None if it has none that can be used."""
    for name in ("absolute", "bbox"):
        if (found := _read_sides(crop.get(name), is_relative=False)) is not None:
            return _round(found)
    size = page.get("width"), page.get("height")
    found = _read_sides(crop.get("relative"), is_relative=True)
    if found is None or not all(isinstance(side, int) and side > 0 for side in size):
        return None
    width, height = size
    x, y, w, h = found
    return _round([x * width, y * height, w * width, h * height])


def _read_sides(value: Any, is_relative: bool) -> Sequence[float] | None:
    """Return ``x y w h`` from a list or an object; None if it is neither."""
    if isinstance(value, dict):
        x, y, right, bottom = (value.get(name) for name in _CORNERS)
        x, y = value.get("x") if x is None else x, value.get("y") if y is None else y
        if not _are_numbers(x, y):
            return None
        w = right - x if _are_numbers(right) else value.get("width")
        h = bottom - y if _are_numbers(bottom) else value.get("height")
        value = [x, y, w, h]
    if not isinstance(value, list) or len(value) != 4 or not _are_numbers(*value):
        return None
    return value if all(0 <= side <= (1 if is_relative else 10**9) for side in value) else None


def _are_numbers(*values: Any) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def _round(box: Sequence[float]) -> Box:
    x, y, w, h = box
    return round(x), round(y), max(1, round(w)), max(1, round(h))


def check_known(crops: Mapping[str, Any], uids: Sequence[str]) -> None:
    """Check that crops belong to documents of the request.

    Raises:
        RequestError: A crop belongs to another document.
    """
    for uid in crops:
        if uid not in uids:
            raise RequestError(f"crops: {show(uid)} is not the uid of a document of this request.")
