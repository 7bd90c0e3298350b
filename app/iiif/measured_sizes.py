"""Decide which size the full-size image of a fetched file has.

Boxes are in the pixels in which the server cuts regions. ``info.json`` and the manifest usually state this size, but
some state another one: https://github.com/ruven/iipsrv/issues/157, https://github.com/libvips/libvips/issues/1818

====================================================  ==================================================
fetched file                                          size of the full-size image
====================================================  ==================================================
no stated size                                        that of the file
turned on its side, see :func:`is_turned`             that of ``info.json`` with width and height exchanged
substitute, because access to the image is            the largest of manifest, substitute and file
restricted (:attr:`ImageInfo.is_substitute`)
whole image, larger than stated or with other         that of the file
proportions
any, from a server that cuts regions                  measured by strips, for the first image of a server and
                                                      the first one for which manifest and ``info.json`` differ;
                                                      if it is not the stated one, for all
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
from app.iiif.image_api import build_image_url, build_region_url
from app.iiif.image_info import ImageInfo, Size
from app.iiif.image_requests import ImageRequest
from app.iiif.known_servers import KnownServer

# To measure a side, a strip of this breadth is requested. It reaches from this many pixels inside to this many outside
# of the stated size. Servers limit the length of an image to 5000 pixels or so, and some return larger regions blurred:
# https://github.com/ruven/iipsrv/issues/39
_BREADTH, _INSIDE, _OUTSIDE = 64, 4096, 128
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


def read_stated(image: CanvasImage, info: ImageInfo | None) -> Size | None:
    """Return the size according to ``info.json``, or without it, to the manifest."""
    if info:
        return info.width, info.height
    return (image.width, image.height) if image.width and image.height else None


def has_proportions(file: ImageFile, size: Size) -> bool:
    """Return whether a file has the proportions of a size, apart from rounding."""
    height, width = size[1] * file.width / size[0], size[0] * file.height / size[1]
    return abs(file.height - height) <= 1 or abs(file.width - width) <= 1


def is_turned(file: ImageFile, size: Size) -> bool:
    """Return whether a file, upright, is wide and the stated size tall, or the other way round.

    Some services state the size before the EXIF orientation is applied.
    """
    is_across = (file.width > file.height and size[0] < size[1]) or (file.width < file.height and size[0] > size[1])
    return is_across and has_proportions(file, size[::-1])


def is_other_image(file: ImageFile, image: CanvasImage, info: ImageInfo | None) -> bool:
    """Return whether a file shows another image, such as a placeholder for a restricted page.

    Such a file has other proportions. The size in a manifest may be wrong, so without an ``info.json``, a file of the
    requested size is believed.
    """
    stated, manifest = read_stated(image, info), read_stated(image, None)
    if stated is None or any(_is_similar(file, size) for size in (stated, stated[::-1], manifest or stated)):
        return False
    url = file.request.url
    is_requested_size = f"/full/{file.width}," in url or f",{file.height}/" in url
    return info is not None or not (file.request.is_whole or is_requested_size)


def check_height(fetcher: Fetcher, image: CanvasImage, info: ImageInfo, name: str, server: KnownServer) -> None:
    """Measure the height of the first image of a server, if ``info.json`` and the manifest agree on its size.

    If the height is the stated one, or the server cuts no regions, the stated sizes of the server are believed.
    """
    if (
        server.states_wrong_sizes is None
        and info.service.level > 0
        and read_stated(image, None) == read_stated(image, info)
    ):
        height = _measure_side(fetcher, info, name)
        if height is None or abs(height - info.height) <= 1:
            server.states_wrong_sizes = False


def has_height(fetcher: Fetcher, info: ImageInfo, name: str) -> bool:
    """Return whether an image has the stated height. Proportions of the file then confirm the width."""
    height = _measure_side(fetcher, info, name)
    return height is not None and abs(height - info.height) <= 1


def find_full_size(
    fetcher: Fetcher, image: CanvasImage, info: ImageInfo | None, file: ImageFile, server: KnownServer
) -> FullSize:
    """Return the size of the full-size image of a fetched file, by the table above.

    Args:
        fetcher: HTTP client, to measure the image if necessary.
        image: Image of the canvas.
        info: Content of ``info.json``, or None.
        file: Fetched file.
        server: Facts about the server; what is measured is recorded there.
    """
    stated, manifest = read_stated(image, info), read_stated(image, None)
    if stated is None:
        return FullSize(*file.size)
    if info and is_turned(file, stated):
        return _describe_difference(stated, stated[::-1])
    if info and info.is_substitute:
        known = [size for size in (stated, manifest, file.size) if size and _is_similar(file, size)]
        return _describe_copy(max(stated, file.size), max(known))
    is_larger = min(file.width - stated[0], file.height - stated[1]) > 1
    if file.request.is_whole and (is_larger or not has_proportions(file, stated)):
        server.states_wrong_sizes = server.states_wrong_sizes or info is not None
        return _describe_difference(stated, file.size)
    if _needs_measuring(file, stated, manifest or stated, info, server):
        measured = _measure(fetcher, image, info, file, manifest, stated)
        if info:
            server.states_wrong_sizes = server.states_wrong_sizes or measured is not None
            server.has_right_infos = server.has_right_infos or (measured is None and manifest not in (None, stated))
        if measured:
            return _describe_difference(stated, measured)
    if _is_similar(file, stated):
        return _describe_copy(file.size, stated) if file.request.is_whole else FullSize(*stated)
    return _describe_difference(stated, manifest if manifest and _is_similar(file, manifest) else stated[::-1])


def _is_similar(file: ImageFile, size: Size) -> bool:
    ratio = file.width * size[1] / (file.height * size[0])
    return abs(ratio - 1) <= _SIMILAR or has_proportions(file, size)


def _is_same(one: Size, other: Size) -> bool:
    """Return whether two sizes are equal. One pixel more or less is a matter of rounding."""
    return all(abs(first - second) <= 1 for first, second in zip(one, other, strict=True))


def _needs_measuring(
    file: ImageFile, stated: Size, manifest: Size, info: ImageInfo | None, server: KnownServer
) -> bool:
    if not file.request.form or (file.request.is_whole and _is_same(file.size, stated)):
        return False
    if not has_proportions(file, stated):
        return True
    is_contradicted = manifest != stated and not server.has_right_infos
    return info is not None and (server.states_wrong_sizes is not False or is_contradicted)


def _measure(
    fetcher: Fetcher, image: CanvasImage, info: ImageInfo | None, file: ImageFile, manifest: Size | None, stated: Size
) -> Size | None:
    """Measure the full-size image. Return a size other than the stated one, or None.

    If the server cuts no regions, the whole image is fetched, unless ``info.json`` and the manifest agree.
    """
    service, name, size = info.service if info else image.service, file.request.form.split()[1], None
    is_doubtful = not has_proportions(file, stated) or not _is_same(manifest or stated, stated)
    if info and info.service.level > 0:
        size = _measure_sides(fetcher, info, name, is_doubtful)
        if size and max(size[0] - stated[0], size[1] - stated[1]) >= _OUTSIDE:
            size, is_doubtful = None, True  # larger than the strips
    if size is None and (is_doubtful or not manifest) and service:
        size = _fetch_size(fetcher, [build_image_url(service, service.full_size, name)])
        if size and max(size) < _REDUCED * max(stated) and size != manifest and has_proportions(file, stated):
            return None  # servers limit the size of one image: the stated size may be right
    return size if size and has_proportions(file, size) and not _is_same(size, stated) else None


def _measure_sides(fetcher: Fetcher, info: ImageInfo, name: str, is_doubtful: bool) -> Size | None:
    """Measure an image without fetching all of it, by strips along its left and upper sides.

    Servers crop a region at the edge of the image: https://iiif.io/api/image/2.1/#region
    If the height is the stated one, the width is not measured, unless the size is doubtful.

    Args:
        fetcher: HTTP client.
        info: Description of the image, of level 1 or higher.
        name: Last part of an image request that the server supports.
        is_doubtful: Whether other evidence contradicts the stated size. Refused requests are then repeated in another
            form.

    Returns:
        The size in pixels; at most ``_OUTSIDE`` more than stated. None if the server returns no such region.
    """
    height = _measure_side(fetcher, info, name, is_height=True, is_doubtful=is_doubtful)
    if height and abs(height - info.height) <= 1 and not is_doubtful:
        return info.width, info.height
    # Here the height, if there is one, is doubtful or wrong.
    width = _measure_side(fetcher, info, name, is_height=False, is_doubtful=True) if height else None
    return (width, height) if width and height else None


def _measure_side(
    fetcher: Fetcher, info: ImageInfo, name: str, *, is_height: bool = True, is_doubtful: bool = False
) -> int | None:
    length = info.height if is_height else info.width
    start = max(0, length - _INSIDE)
    reach = length + _OUTSIDE - start
    box = (0, start, _BREADTH, reach) if is_height else (start, 0, reach, _BREADTH)
    # A size by the side that is known has the widest support.
    forms = [f"{_BREADTH}," if is_height else f",{_BREADTH}", *([info.service.full_size] if is_doubtful else ())]
    urls = [build_region_url(info.service, box, form, name) for form in forms]
    size = _fetch_size(fetcher, urls, reach)
    breadth, found = (size if is_height else size[::-1]) if size else (0, 0)
    return start + found if breadth == _BREADTH else None


def _fetch_size(fetcher: Fetcher, urls: Sequence[str], longest: int | None = None) -> Size | None:
    try:
        return fetcher.fetch_image([ImageRequest(url, longest) for url in urls]).size
    except FetchError:
        return None


def _describe_difference(stated: Size, found: Size) -> FullSize:
    """Return a size with a note that the library states another one."""
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
