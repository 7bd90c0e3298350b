"""Names and order of pages that come as files: the entries of a zip file or a folder."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

LONGEST_NAME = 200
# Files with these extensions are pages, also if they cannot be read: such a page fails with a reason.
_IMAGES = re.compile(
    r"\.(jpe?g|jpe|jfif|png|tiff?|webp|jp2|j2[ck]|jp[fx]|gif|bmp|p[pgbn]m|avif|hei[cf]|jxl|jxr|djvu?|psd|svg)",
    re.IGNORECASE,
)


def explain_name(name: str) -> str:
    """Return why the name of a document or an image is invalid, such as "is a path"; "" if it is valid."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} characters"
    if not name.isprintable():
        return "contains unprintable characters"
    if "/" in name or "\\" in name or name in (".", ".."):
        return "is a path"
    return "begins or ends with a space" if name != name.strip() else ""


def is_hidden(path: PurePosixPath) -> bool:
    """Return whether a path belongs to the operating system: ``.DS_Store``, ``__MACOSX/…``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def claims_image(path: PurePosixPath) -> bool:
    """Return whether the extension of a file is that of an image."""
    return bool(_IMAGES.fullmatch(path.suffix))


def sort_naturally(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Sort paths as people number pages: ``page2`` comes before ``page10``, and files before subfolders."""
    return sorted(paths, key=lambda path: ([*map(_split, path.parent.parts)], _split(path.stem), str(path)))


def _split(part: str) -> list[tuple[int, str]]:
    # ASCII digits only: others may have no value. The length compares numbers of any size.
    pieces = re.split("([0-9]+)", part.casefold())
    numbers = (number.lstrip("0") for number in pieces[1::2])
    found = [(0, pieces[0])]
    for number, text in zip(numbers, pieces[2::2], strict=True):
        found += [(len(number), number), (0, text)]
    return found


def name_pages(paths: Sequence[PurePosixPath]) -> list[str]:
    """Return the image name of each file: its own name or, if others have the same, its path joined by ``_``.

    A name that is still not unique, or is invalid, is "".
    """
    own = Counter(path.name for path in paths)
    names = [path.name if own[path.name] == 1 else "_".join(path.parts) for path in paths]
    count = Counter(names)
    return [name if count[name] == 1 and not explain_name(name) else "" for name in names]
