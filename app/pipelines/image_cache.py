"""The images of one manifest on disk: what is there is not asked for again."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher, find_host
from app.iiif.images import fetch_canvas_image
from app.storage import build_key, write_atomic


@dataclass(frozen=True)
class CachedImage:
    """A file name in the cache, and the size of the full-size image that it shows."""

    file: str
    width: int
    height: int


class ImageCache:
    """Fetches images into a folder.

    Beside each image lies a record of its full size, written after it: an image without a record is not whole.

    Args:
        folder: The manifest's own.
        fetcher: The HTTP client.
        longest: Longer side to ask for, in pixels; None for the full size.
        gently: Ask for less where the rule of a known host says so.
        refresh: Fetch anew what is there.
    """

    def __init__(
        self, folder: Path, fetcher: Fetcher, longest: int | None, *, gently: bool = True, refresh: bool = False
    ) -> None:
        self.folder = folder
        self._fetcher = fetcher
        self._longest = longest
        self._gently = gently
        self._refresh = refresh

    def fetch(self, image: CanvasImage) -> CachedImage:
        """Return an image from the cache, fetched first if need be.

        Raises:
            FetchError: It could not be fetched.
        """
        base = image.service.id if image.service else image.url
        longest = self._choose_longest(base)
        key = build_key(f"{base} {image.url} {longest}")
        record = self.folder / f"{key}.json"
        if not self._refresh and (known := _load(record)):
            return known
        fetched = fetch_canvas_image(self._fetcher, image, longest)
        cached = CachedImage(f"{key}.image", fetched.full_width, fetched.full_height)
        write_atomic(self.folder / cached.file, fetched.data)
        write_atomic(record, json.dumps(asdict(cached)).encode())
        return cached

    def _choose_longest(self, base: str) -> int | None:
        rule = self._fetcher.rules.find(find_host(base))
        if self._gently and rule.image_size and rule.is_large(self._longest):
            return rule.image_size
        return self._longest

    def forget_all_but(self, files: set[str]) -> None:
        """Remove what is not among the given image files."""
        stems = {Path(file).stem for file in files}
        for path in self.folder.glob("*"):
            if path.stem not in stems and not path.name.startswith(".part-"):
                path.unlink(missing_ok=True)


def _load(record: Path) -> CachedImage | None:
    try:
        os.utime(record)  # retention counts from the last use
        return CachedImage(**json.loads(record.read_bytes()))
    except FileNotFoundError:
        return None
