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

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import RequestError
from app.jobs.requests.reading import show

Box = tuple[int, int, int, int]
Sides = tuple[float, float, float, float]
# Largest coordinate in pixels.
LONGEST = 10**9


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
        if found := _read_sides(crop.get(name), LONGEST):
            return _round(found)
    found, width, height = _read_sides(crop.get("relative"), 1), page.get("width"), page.get("height")
    if not found or not isinstance(width, int) or not isinstance(height, int):
        return None
    if min(width, height) < 1 or max(width, height) > LONGEST:
        return None
    return _round((found[0] * width, found[1] * height, found[2] * width, found[3] * height))


def _read_sides(value: Any, longest: int) -> Sides | None:
    """Return ``x y w h`` from a list or an object, each at most ``longest``; None if it is neither."""
    if isinstance(value, dict):
        x, y = (value.get(f"{axis}1", value.get(axis)) for axis in "xy")
        value = [x, y, _read_length(value, x, "x2", "width"), _read_length(value, y, "y2", "height")]
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        return None
    x, y, w, h = value
    return (x, y, w, h) if min(value) >= 0 and max(value) <= longest else None


def _read_length(box: Mapping[str, Any], start: Any, end: str, length: str) -> Any:
    """Return the width or height of a box, which has its end or its length."""
    is_known = _is_number(start) and _is_number(box.get(end))
    return box[end] - start if is_known else box.get(length)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LONGEST  # neither NaN nor infinite


def _round(box: Sides) -> Box:
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
