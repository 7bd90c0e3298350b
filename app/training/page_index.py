"""The pages of an upload while it is sorted: find the page that a label file, an entry or a line of a list means."""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from app.errors import RequestError, TooLarge
from app.storage.archives import MOST_PARTS, Member
from app.training.label_formats.yolo import LabelledBox
from app.training.layouts import LAYOUT, count_common_start, find_group, is_image

# Each takes about 300 bytes of memory.
MOST_BOXES = 1_000_000


@dataclass(eq=False)
class Draft:
    """A page whose split and labels may still be unknown.

    Attributes:
        image: The image file.
        split: Its split; "" if it is unknown.
        boxes: Its illustrations; None without a label file.
        source: File or folder that gave the split, for error messages.
        label: File that gave the boxes, for error messages.
    """

    image: Member
    split: str
    boxes: list[LabelledBox] | None = None
    source: str = ""
    label: str = ""

    def assign(self, split: str, source: str) -> None:
        """Set the split if it is unknown.

        Raises:
            RequestError: If the page is in another split.
        """
        if self.split and split and self.split != split:
            raise RequestError(
                f"{self.image} is for {self.split} by {self.source}, but for {split} by {source}: {LAYOUT}."
            )
        if split and not self.split:
            self.split, self.source = split, source


class PageIndex:
    """The pages of an upload, by name.

    Args:
        pages: The pages.

    Raises:
        RequestError: If two pages differ only in their suffix.
    """

    def __init__(self, pages: Iterable[Draft]) -> None:
        self.pages = list(pages)
        # The file name of each page and its folders from the innermost one: ("1", "ms1", "scans"). In this order, all
        # pages with a name and some innermost folders are neighbours.
        named = [((page.image.path.stem, *find_group(page.image.path)[::-1]), page) for page in self.pages]
        named.sort(key=lambda entry: entry[0])
        self._names, self._sorted = [name for name, _ in named], [page for _, page in named]
        self._boxes = 0
        places: dict[PurePosixPath, Draft] = {}
        for page in self.pages:
            path = page.image.path
            other = places.setdefault(path.with_suffix(""), page)
            if other is not page:
                raise RequestError(f"{other.image.path} and {page.image} would be the same page: rename one of them.")

    def add_boxes(self, page: Draft, boxes: Sequence[LabelledBox]) -> None:
        """Add the boxes of a label file to a page.

        Raises:
            TooLarge: If the pages have too many boxes.
        """
        self._boxes += len(boxes)
        if self._boxes > MOST_BOXES:
            raise TooLarge(f"The labels have more than {MOST_BOXES} boxes: send fewer pages.")
        page.boxes = page.boxes or []
        page.boxes += boxes

    def find(self, path: PurePosixPath, stem: str, split: str = "") -> Draft | None:
        """Return the page with this name, or None.

        Pages of other splits are not considered. If several pages have the name, the folders decide.

        Args:
            path: Path of the label file, or of the image as a tool wrote it.
            stem: File name of the page without suffix.
            split: Split of the label file; "" if it is unknown.

        Raises:
            RequestError: If several pages have the name, and the folders do not decide.
        """
        folders = find_group(path)[: -MOST_PARTS - 1 : -1]
        for count in range(len(folders), -1, -1):
            pages = self._list_pages((stem, *folders[:count]))
            if found := [page for page in pages if not split or page.split in ("", split)]:
                return found[0] if len(found) == 1 else _choose(path, found)
        return None

    def find_by_name(self, file_name: str, split: str = "") -> Draft | None:
        """Return the page that an annotation tool calls by a name, path or URL, or None."""
        for name in dict.fromkeys((file_name, _strip_url(file_name), unquote(_strip_url(file_name)))):
            path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
            stems = (path.stem,) if is_image(path) else (path.name, path.stem)
            for stem in stems:
                if page := self.find(path, stem, split):
                    return page
        return None

    def _list_pages(self, beginning: tuple[str, ...]) -> list[Draft]:
        """Return the pages whose name and innermost folders are these."""

        def cut(name: tuple[str, ...]) -> tuple[str, ...]:
            return name[: len(beginning)]

        first = bisect_left(self._names, beginning, key=cut)
        return self._sorted[first : bisect_right(self._names, beginning, lo=first, key=cut)]


def _choose(path: PurePosixPath, pages: Sequence[Draft]) -> Draft:
    """Return the page whose folders fit best: no others than those of the label file, then the same split or kind."""
    ranks = [(-len(find_group(page.image.path)), _count_common_end(path, page.image.path)) for page in pages]
    best = [page for page, rank in zip(pages, ranks, strict=True) if rank == max(ranks)]
    if len(best) > 1:
        raise RequestError(
            f"{str(path)[:100]!r} could belong to {best[0].image.path} or {best[1].image}: "
            "give the pages different names, or use the same folders for pages and labels."
        )
    return best[0]


def _count_common_end(one: PurePosixPath, other: PurePosixPath) -> int:
    """Return the number of equal folders next to two files."""
    return count_common_start([one.parts[-2::-1], other.parts[-2::-1]])


def _strip_url(name: str) -> str:
    """Return the path in a URL; Label Studio writes ``/data/local-files/?d=<path>`` for files on its own disk."""
    if "://" not in name and "?" not in name:
        return name
    try:
        url = urlsplit(name)
    except ValueError:
        return name
    return parse_qs(url.query).get("d", [url.path])[0]
