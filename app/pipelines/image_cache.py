"""The cached images of a manifest or a document, so that no image is fetched twice.

``CircuitBreaker`` stops fetching after several consecutive failures.
"""

import errno
import json
import os
import threading
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from app.detection.parts import ChooseGrid, Grid
from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo
from app.iiif.images import FetchedImage, fetch_canvas_image, fetch_info
from app.iiif.known_servers import KnownServers
from app.iiif.stated_sizes import StatedSizes
from app.net.addresses import read_host
from app.pipelines.part_images import fetch_for_parts
from app.sources.local_pages import LocalPages
from app.storage import build_key, write_atomic


@dataclass(frozen=True)
class CachedImage:
    """An image in the cache.

    Attributes:
        file: Name of the file.
        width, height: Size of the full-size image.
        note: Sentence for the user if the library states another size, or "".
        parts: Number of parts for which the image was requested.
    """

    file: str
    width: int
    height: int
    note: str = ""
    parts: int = 1


class ImageCache:
    """Fetches images into a folder.

    Each image has a record with its full size. The record is written after the image, so an image without a record is
    incomplete.

    Args:
        folder: Folder for the images of one manifest or document.
        fetcher: HTTP client.
        longest: Longer side to request, in pixels; None for the full size.
        cap_to_host_size: Whether the ``image_size`` of the host's rule limits ``longest``.
        refresh: Whether to fetch images that are already cached.
        choose_grid: Function that chooses the parts of a page; ``longest`` is then the longer side of each part. A
            cached image that was requested for fewer parts is fetched again.
        local: Pages of a file on this machine, which are kept at their full size.

    Attributes:
        servers: Facts about the servers of the images.
    """

    def __init__(
        self,
        folder: Path,
        fetcher: Fetcher,
        longest: int | None,
        *,
        cap_to_host_size: bool = True,
        refresh: bool = False,
        choose_grid: ChooseGrid = lambda width, height: Grid(),
        local: LocalPages | None = None,
    ) -> None:
        self._local = local
        self.folder = folder
        self._fetcher = fetcher
        self._longest = longest
        self._cap_to_host_size = cap_to_host_size
        self._refresh = refresh
        self.servers = KnownServers()
        self._choose_grid = choose_grid

    @property
    def is_local(self) -> bool:
        """Whether the images are in a file or a folder on this machine."""
        return self._local is not None and self._local.is_local

    def close(self) -> None:
        """Release the file with the images."""
        if self._local:
            self._local.close()

    def fetch(self, image: CanvasImage, sizes: StatedSizes | None = None) -> CachedImage:
        """Return an image from the cache; fetch it first if it is missing.

        Args:
            image: Image to fetch.
            sizes: Sizes that the manifest states; None to fetch the ``info.json`` of the image.

        Raises:
            FetchError: The image could not be fetched.
        """
        name = self.name_image(image)
        if known := self.find(name):
            return known
        if self._local and self._local.identify(image):
            return self.save(name, self._local.read(image))
        longest = self._choose_longest(image.base)
        fetch = partial(fetch_canvas_image, self._fetcher, image, sizes=sizes, servers=self.servers)
        if longest is None:
            return self.save(name, fetch(None))
        return self.save(
            name, fetch_for_parts(fetch, self._fetcher, image, longest, self._choose_grid, self.fetch_info)
        )

    def name_image(self, image: CanvasImage) -> str:
        """Return the name of an image in the cache. Another file at the URL of a zip file or PDF has other names."""
        identity = self._local.identify(image) if self._local else ""
        return identity or f"{image.base} {image.url} {self._choose_longest(image.base)}"

    def fetch_info(self, service: ImageService) -> ImageInfo:
        """Fetch the ``info.json`` of a service, unless an earlier image showed that the server has none.

        Raises:
            FetchError: It could not be fetched, or does not describe an image.
        """
        return fetch_info(self._fetcher, service, self.servers.find(service))

    def find(self, name: str) -> CachedImage | None:
        """Return the image cached under a name, or None if it is missing, too small or must be refreshed.

        Args:
            name: Text that identifies the image, including its size.
        """
        cached = None if self._refresh else _load(self._place(name))
        if cached and self._longest and cached.parts < self._choose_grid(cached.width, cached.height).count:
            return None
        return cached

    def save(self, name: str, fetched: FetchedImage) -> CachedImage:
        """Write an image to the cache under a name."""
        path, size = self._place(name), (fetched.full_width, fetched.full_height)
        cached = CachedImage(path.name, *size, fetched.note, self._choose_grid(*size).count)
        write_atomic(path, fetched.data)
        # If a power cut empties the record, the image is fetched again.
        write_atomic(path.with_suffix(".json"), json.dumps(asdict(cached)).encode(), sync=False)
        return cached

    def _place(self, name: str) -> Path:
        return self.folder / f"{build_key(name)}.image"

    def _choose_longest(self, base: str) -> int | None:
        rule = self._fetcher.rules.find(read_host(base))
        if self._cap_to_host_size and rule.image_size and rule.is_large(self._longest):
            return rule.image_size
        return self._longest

    def holds(self, file: str) -> bool:
        """Return whether the cache holds a complete image."""
        return _load(self.folder / file) is not None

    def evict_all_except(self, files: set[str]) -> None:
        """Remove all files except the given images and their records."""
        stems = {Path(file).stem for file in files}
        for path in {path.with_suffix("") for path in self.folder.glob("*") if not path.name.startswith(".part-")}:
            if path.name not in stems:
                evict(path)


def evict(path: Path) -> None:
    """Remove an image from the cache. Its record is removed first, so that no reader uses a partial entry."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.with_suffix(".image").unlink(missing_ok=True)


def evict_damaged(path: Path, error: Exception) -> None:
    """Remove an image that cannot be decoded from the cache.

    Raises:
        OSError: If the system refused to read the file, such as for too many open files. The image may be fine.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error
    evict(path)


def _load(path: Path) -> CachedImage | None:
    """Load the record of an image; return None if the image or a valid record is missing."""
    record = path.with_suffix(".json")
    try:
        os.utime(record)  # retention counts from the last use
        return CachedImage(**json.loads(record.read_bytes())) if path.with_suffix(".image").exists() else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


MAX_CONSECUTIVE_FAILURES = 8


class CircuitBreaker:
    """Stop fetching images after several consecutive temporary failures. Threads may share one.

    A server that is down or that blocks this service is not asked for hundreds of further pages. They become failed
    canvases with :attr:`reason`, and a retry of the job fetches them.

    Args:
        max_failures: Number of consecutive failures that opens the circuit.
    """

    def __init__(self, max_failures: int = MAX_CONSECUTIVE_FAILURES) -> None:
        self._max_failures = max_failures
        self._lock = threading.Lock()
        self._failures = 0
        self._last_error = ""

    @property
    def reason(self) -> str:
        """Why no further image is fetched; "" while the circuit is closed."""
        if self._failures < self._max_failures:
            return ""
        return (
            f"Not fetched, because {self._max_failures} images in a row had failed. "
            f"Last error: {self._last_error} Retry the job later."
        )

    def record(self, error: FetchError | None) -> None:
        """Record the outcome of a fetch. A permanent error counts as a success, because the server answers."""
        with self._lock:
            if error is not None and error.temporary:
                self._failures += 1
                self._last_error = error.message[:300]
            else:
                self._failures = 0
