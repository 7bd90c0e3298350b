"""The image to search for: an upload, an image at a URL, or an illustration of a detection job.

The download stage stores it in the job's folder, with the size of the full-size image. An upload is there already.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import FetchError, RequestError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import Box, build_region_url, derive_service
from app.images.formats import MAX_IMAGE_PIXELS, check_image
from app.images.pixels import decode_picture, needs_turn, read_size
from app.pipelines.image_cache import CachedImage, ImageCache
from app.pipelines.similarity.crops import crop, fetch_at_address
from app.pipelines.similarity.documents import ListedImage
from app.pipelines.similarity.image_sources import ImageSource, find_full_size
from app.storage import JobFolder, link, write_atomic

Size = tuple[int, int]


@dataclass(frozen=True)
class QueryImage:
    """The stored image of a search.

    Attributes:
        path: Image file.
        box: Region of the file to search for, in pixels of the file; None for the whole file.
        file_size: (width, height) of the file, or of the region.
        size: (width, height) of the full-size image, or of the region of it.
    """

    path: Path
    box: Box | None
    file_size: Size
    size: Size

    def decode(self, least: int, side: Callable[[Sequence[int]], int]) -> NDArray[np.uint8]:
        """Return RGB pixels, at a reduced size if possible: see :func:`~app.images.pixels.decode_picture`."""
        with self.path.open("rb") as file:
            picture, _ = decode_picture(file, None if self.box else least, side)
        if self.box:
            x, y, w, h = self.box
            picture = picture.crop((x, y, x + w, y + h))
        return np.asarray(picture)


def load_query(folder: JobFolder, box: Box | None, *, is_upload: bool) -> QueryImage:
    """Return the stored image of a search.

    Args:
        folder: Folder of the job.
        box: Region of an upload to search for; None for the whole image.
        is_upload: Whether the image is an upload, which was not checked yet.

    Raises:
        NotAnImage: The upload is damaged, or has too many pixels.
        RequestError: The region lies outside of the upload.
    """
    path = folder.query
    if not is_upload:
        with path.open("rb") as file:
            width, height = json.loads(folder.query_size.read_bytes())
            return QueryImage(path, None, read_size(file), (width, height))
    size = check_image(path.read_bytes(), "image", MAX_IMAGE_PIXELS)
    if box is None:
        return QueryImage(path, None, size, size)
    box = clip(box, size)
    return QueryImage(path, box, box[2:], box[2:])


def clip(box: Box, size: Size) -> Box:
    """Return the part of a box that lies in an image.

    Raises:
        RequestError: The box lies outside of the image.
    """
    (x, y, w, h), (width, height) = box, size
    if x >= width or y >= height:
        shown = ",".join(map(str, box))
        raise RequestError(f"xywh: {shown} lies outside of the image, which has {width} x {height} pixels.")
    return x, y, min(w, width - x), min(h, height - y)


def fetch_from_url(
    folder: JobFolder,
    url: str,
    box: Box | None,
    caches: Callable[[int | None], ImageCache],
    fetcher: Fetcher,
    side: int,
) -> None:
    """Fetch the image at a URL, or a region of it, and store it.

    Args:
        folder: Folder of the job.
        url: URL of the image.
        box: Region in pixels of the full-size image; None for the whole image.
        caches: Function that opens the cache for images of a longer side; None for full-size images.
        fetcher: HTTP client.
        side: Required length of the shorter side, in pixels.

    Raises:
        FetchError: The image could not be fetched.
        RequestError: The region lies outside of the image.
    """
    cache = caches(3 * side)
    if box is None:
        cached = fetch_at_address(cache, fetcher, url, side)
        _store(folder, cache, cached, find_full_size(ListedImage("", url), cached))
    elif region := _fetch_region(url, box, cache, fetcher, side):
        _store(folder, cache, *region)
    else:
        whole = caches(None)
        page = whole.fetch(CanvasImage(url, None, None, derive_service(url)))
        box = clip(box, (page.width, page.height))
        cut = cache.save(f"{url} {box}", crop(whole, page, box))
        _store(folder, cache, cut, box[2:])


def _fetch_region(
    url: str, box: Box, cache: ImageCache, fetcher: Fetcher, side: int
) -> tuple[CachedImage, Size] | None:
    """Fetch a region from the image service of a URL; return it with its full size, or None without such a service."""
    service = derive_service(url)
    if service is None:
        return None
    try:
        info = cache.fetch_info(service)
        box = clip(box, (info.width, info.height))
        if info.service.level == 0:
            return None
        cached = fetch_at_address(cache, fetcher, build_region_url(info.service, box), side)
    except FetchError as error:
        if error.temporary:
            raise
        return None
    with (cache.folder / cached.file).open("rb") as file:
        return None if needs_turn(file) else (cached, box[2:])


def fetch_detection(folder: JobFolder, source: ImageSource, canvas_number: int, index: int, box: Box | None) -> None:
    """Fetch an illustration of a detection job, and store it.

    Args:
        folder: Folder of the job.
        source: Illustrations of the detection job.
        canvas_number: Number of the canvas.
        index: Position of the detection on its canvas, from 1; 0 to find it by its box.
        box: Box of the detection.

    Raises:
        FetchError: The illustration could not be fetched.
        RequestError: There is no such detection.
    """
    listing = source.list_images()
    if listing.error:
        raise RequestError(listing.error)
    there = [image for image in listing.images if image.canvas_number == canvas_number]
    found = there[index - 1 : index] if index else [image for image in there if image.xywh == box]
    if not found:
        wanted = f"detection {index}" if index else f"detection at {','.join(map(str, box or ()))}"
        raise RequestError(f"Canvas {canvas_number} of the job has no {wanted}: it has {len(there)} detections.")
    try:
        cached = source.fetch(found[0])
    finally:
        source.close()
    _store(folder, source.cache, cached, find_full_size(found[0], cached))


def _store(folder: JobFolder, cache: ImageCache, cached: CachedImage, size: Size) -> None:
    write_atomic(folder.query_size, json.dumps(size).encode())
    link(cache.folder / cached.file, folder.query)
