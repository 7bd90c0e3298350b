"""Decide which size the full-size image of a fetched file has.

Boxes are in the pixels in which the server cuts regions. ``info.json`` and the manifest usually state this size, but
some state another one: https://github.com/ruven/iipsrv/issues/157, https://github.com/libvips/libvips/issues/1818

====================================================  ==================================================
fetched file                                          size of the full-size image
====================================================  ==================================================
no stated size                                        that of the file
substitute, because access to the image is            that of the manifest if it is larger, else that of
restricted (:attr:`ImageInfo.is_substitute`)          the substitute
whole image, larger than stated or with other         that of the file
proportions
any, from a server that cuts regions                  that of :func:`measure_corner`, for the first image
                                                      of a server; if it is not the stated one, for all
with the proportions of the manifest, not of          that of the manifest
``info.json``
any other                                             the stated one
====================================================  ==================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher, ImageFile
from app.iiif.image_api import ImageInfo, build_image_url
from app.iiif.image_requests import ImageRequest, build_region_url
from app.iiif.known_servers import KnownServer

Size = tuple[int, int]

# Pixels of the measured corner inside and outside of the stated size. Some servers return larger regions blurred:
# https://github.com/ruven/iipsrv/issues/39
_INSIDE, _OUTSIDE = 256, 128
# Proportions that differ by more belong to another image, such as a placeholder.
_SIMILAR = 0.05
# A file with less of the longer side than this is a reduced copy.
_REDUCED = 0.9


@dataclass(frozen=True)
class FullSize:
    """The size of the full-size image, in pixels, and a sentence for the user if the library states another one."""

    width: int
    height: int
    note: str = ""


def is_other_image(file: ImageFile, request: ImageRequest, image: CanvasImage, info: ImageInfo | None) -> bool:
    """Return whether a file shows another image, such as a placeholder for a restricted page.

    Such a file has other proportions. The size in a manifest may be wrong, so without an ``info.json``, a file of the
    requested size is believed.
    """
    stated = read_stated(image, info)
    if stated is None or any(
        _is_similar(file, size) for size in (stated, stated[::-1], read_stated(image, None) or stated)
    ):
        return False
    is_requested_size = f"/full/{file.width}," in request.url or f",{file.height}/" in request.url
    return info is not None or not (request.is_whole or is_requested_size)


def find_full_size(
    fetcher: Fetcher,
    image: CanvasImage,
    info: ImageInfo | None,
    file: ImageFile,
    request: ImageRequest,
    server: KnownServer,
) -> FullSize:
    """Return the size of the full-size image of a fetched file.

    Args:
        fetcher: HTTP client, to measure the image if necessary.
        image: Image of the canvas.
        info: Content of ``info.json``, or None.
        file: Fetched file.
        request: Request that returned the file.
        server: Facts about the server; what is measured is recorded there.
    """
    stated, found = read_stated(image, info), (file.width, file.height)
    if stated is None:
        return FullSize(*found)
    if info and info.is_substitute:
        manifest = read_stated(image, None)
        return _describe_copy(stated, max(stated, manifest) if manifest and _is_similar(file, manifest) else stated)
    if request.is_whole and (min(found[0] - stated[0], found[1] - stated[1]) > 1 or not has_proportions(file, stated)):
        server.states_wrong_sizes = server.states_wrong_sizes or info is not None
        return _describe_difference(stated, found)
    measured = _measure_doubtful(fetcher, image, info, file, request, server)
    if measured:
        return _describe_difference(stated, measured)
    if _is_similar(file, stated):
        return _describe_copy(found, stated) if request.is_whole else FullSize(*stated)
    manifest = read_stated(image, None)
    return _describe_difference(stated, manifest if manifest and _is_similar(file, manifest) else stated[::-1])


def read_stated(image: CanvasImage, info: ImageInfo | None) -> Size | None:
    """Return the size according to ``info.json``, or without it, to the manifest."""
    if info:
        return info.width, info.height
    return (image.width, image.height) if image.width and image.height else None


def has_proportions(file: ImageFile, size: Size) -> bool:
    """Return whether a file has the proportions of a size, apart from rounding."""
    height, width = size[1] * file.width / size[0], size[0] * file.height / size[1]
    return abs(file.height - height) <= 1 or abs(file.width - width) <= 1


def _is_similar(file: ImageFile, size: Size) -> bool:
    ratio = file.width * size[1] / (file.height * size[0])
    return abs(ratio - 1) <= _SIMILAR or has_proportions(file, size)


def _is_same(one: Size, other: Size) -> bool:
    """Return whether two sizes are equal. One pixel more or less is a matter of rounding."""
    return all(abs(first - second) <= 1 for first, second in zip(one, other, strict=True))


def _measure_doubtful(
    fetcher: Fetcher,
    image: CanvasImage,
    info: ImageInfo | None,
    file: ImageFile,
    request: ImageRequest,
    server: KnownServer,
) -> Size | None:
    """Measure the full-size image if its stated size is doubtful. Return a size other than the stated one, or None."""
    stated, manifest = read_stated(image, info), read_stated(image, None)
    service = info.service if info else image.service
    if stated is None or service is None or not request.form:
        return None
    is_likely, name, size = has_proportions(file, stated), request.form.split()[1], None
    is_doubtful = not is_likely or not _is_same(manifest or stated, stated)
    if is_likely and (not info or server.states_wrong_sizes is False):
        return None
    if not (request.is_whole and _is_same((file.width, file.height), stated)):
        if info and service.level > 0:
            size = measure_corner(fetcher, info, name, is_doubtful)
        if size is None and is_doubtful:
            size = _measure(fetcher, [build_image_url(service, service.full_size, name)])
            if size and size < stated and size != manifest and is_likely:
                size = None  # servers limit the size of one image: the stated size may be right
    is_wrong = size is not None and has_proportions(file, size) and not _is_same(size, stated)
    server.states_wrong_sizes = server.states_wrong_sizes or is_wrong
    return size if is_wrong else None


def measure_corner(fetcher: Fetcher, info: ImageInfo, name: str, is_doubtful: bool) -> Size | None:
    """Measure an image without fetching all of it, by the region around its lower right corner.

    Servers crop a region at the edge of the image: https://iiif.io/api/image/2.1/#region

    Args:
        fetcher: HTTP client.
        info: Description of the image, of level 1 or higher.
        name: Last part of an image request that the server supports.
        is_doubtful: Whether to repeat a refused request with ``full``, because the server may have version 2.0.

    Returns:
        The size in pixels. None if the server returns no such region, or the image is much larger than stated.
    """
    x, y = max(0, info.width - _INSIDE), max(0, info.height - _INSIDE)
    width, height = info.width - x + _OUTSIDE, info.height - y + _OUTSIDE
    forms = ["full"] if info.service.version == 1 else ["max", "full"] if is_doubtful else ["max"]
    urls = [build_region_url(info.service, (x, y, width, height), form, name) for form in forms]
    size = _measure(fetcher, urls)
    return (x + size[0], y + size[1]) if size and size[0] < width and size[1] < height else None


def _measure(fetcher: Fetcher, urls: Sequence[str]) -> Size | None:
    try:
        file = fetcher.fetch_image_file([ImageRequest(url) for url in urls])
    except FetchError:
        return None
    return file.width, file.height


def _describe_difference(stated: Size, found: Size) -> FullSize:
    return FullSize(
        *found,
        f"The library states {stated[0]} x {stated[1]} pixels for this image, but it has {found[0]} x {found[1]}; "
        f"the boxes are in pixels of the image.",
    )


def _describe_copy(copy: Size, size: Size) -> FullSize:
    if max(copy) >= _REDUCED * max(size):
        return FullSize(*size)
    return FullSize(
        *size,
        f"The library gives access only to a copy of {copy[0]} x {copy[1]} pixels of this image, which has "
        f"{size[0]} x {size[1]}; the boxes are in pixels of the image.",
    )
