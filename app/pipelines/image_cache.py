"""The images of one manifest on disk: what is there is not asked for again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from app.iiif.fetch import Fetcher
from app.iiif.images import fetch_canvas_image
from app.iiif.manifest import CanvasImage
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
        refresh: Fetch anew what is there.
    """

    def __init__(self, folder: Path, fetcher: Fetcher, longest: int | None, refresh: bool = False) -> None:
        self.folder = folder
        self._fetcher = fetcher
        self._longest = longest
        self._refresh = refresh

    def fetch(self, image: CanvasImage) -> CachedImage:
        """Return an image from the cache, fetched first if need be.

        Raises:
            FetchError: It could not be fetched.
        """
        base = image.service.id if image.service else image.url
        key = build_key(f"{base} {image.url} {self._longest}")
        record = self.folder / f"{key}.json"
        if record.exists() and not self._refresh:
            return CachedImage(**json.loads(record.read_bytes()))
        fetched = fetch_canvas_image(self._fetcher, image, self._longest)
        cached = CachedImage(f"{key}.image", fetched.full_width, fetched.full_height)
        write_atomic(self.folder / cached.file, fetched.data)
        write_atomic(record, json.dumps(asdict(cached)).encode())
        return cached

    def forget_all_but(self, files: set[str]) -> None:
        """Remove what is not among the given image files."""
        stems = {Path(file).stem for file in files}
        for path in self.folder.glob("*"):
            if path.stem not in stems and not path.name.startswith(".part-"):
                path.unlink(missing_ok=True)
