"""Choose how to fetch an image from a static service: in one file of a listed size, or in tiles.

A service of level 0 is often a folder of files that ``vips dzsave`` or a IIIF generator wrote. It serves the tiles of
a few sizes, and nothing else. Nothing is fetched here, see :mod:`app.iiif.tile_fetching`.

https://iiif.io/api/image/2.1/#image-information, https://iiif.io/api/image/3.0/#54-tiles
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from app.iiif.image_api import Box, build_image_url, build_region_url
from app.iiif.image_info import ImageInfo, Size, TileSet

# At the default interval between requests, such a page takes 100 seconds.
MOST_TILES = 1024
# By default, a quarter more than the input of the network is wanted (see Settings.longest_image).
_SUFFICIENT = 0.8
# Formats of tiles. Version 3 requires jpg and states only others, but some services have one other format only.
_EXTENSIONS = ["jpg", "png", "webp"]


@dataclass(frozen=True)
class Tile:
    """A part of an image, in one file.

    Attributes:
        box: Region of the full-size image.
        sizes: Possible (width, height) of the file: rounded up, to the nearest, and down. Generators differ.
    """

    box: Box
    sizes: tuple[Size, Size, Size]


@dataclass(frozen=True)
class Form:
    """A way to write the URL of a file. A static service has each file under one URL only.

    Attributes:
        extension: File extension.
        states_height: Whether the size has a height: ``w,h``, the canonical form of version 3, instead of ``w,``.
        rounding: Index of the size in ``Tile.sizes``.
        names_full: Whether the region of the whole image is ``full``.
    """

    extension: str
    states_height: bool
    rounding: int
    names_full: bool

    def build_url(self, info: ImageInfo, tile: Tile) -> str:
        """Return the URL of a tile."""
        width, height = tile.sizes[self.rounding]
        size = f"{width},{height}" if self.states_height else f"{width},"
        if self.names_full and tile.box == (0, 0, info.width, info.height):
            return build_image_url(info.service, size, self._name(info))
        return build_region_url(info.service, tile.box, size, self._name(info))

    def build_whole_url(self, info: ImageInfo) -> str:
        """Return the URL of the full size in one file."""
        return build_image_url(info.service, info.service.full_size, self._name(info))

    def _name(self, info: ImageInfo) -> str:
        return f"{info.service.quality}.{self.extension}"


def list_forms(info: ImageInfo) -> list[Form]:
    """Return the forms that a server may use, the most probable first."""
    extensions = ["jpg"] if "jpg" in info.formats else sorted(_EXTENSIONS, key=lambda name: name not in info.formats)
    heights = (True, False) if info.service.version == 3 else (False, True)
    return [Form(*each) for each in itertools.product(extensions, heights, range(3), (True, False))]


class Kind(Enum):
    """The ways in which a server offers the whole image."""

    LISTED = "a file of a listed size"
    TILED = "tiles"
    WHOLE = "a file of the full size"


@dataclass(frozen=True)
class Rendition:
    """The whole image at one size.

    Attributes:
        kind: Way in which the server offers it.
        width, height: Size in pixels.
        tiles: Files that show it; a single one unless it is tiled.
        factor: Scale factor of the tiles.
    """

    kind: Kind
    width: int
    height: int
    tiles: tuple[Tile, ...]
    factor: int = 1

    @property
    def longest(self) -> int:
        return max(self.width, self.height)

    def list_urls(self, info: ImageInfo, tile: Tile, forms: Sequence[Form]) -> list[str]:
        """Return the URLs at which the file of a tile may be, in the order of the forms."""
        if self.kind is Kind.WHOLE:
            return [forms[0].build_whole_url(info)]
        found = (form.build_url(info, tile) for form in forms if self.kind is Kind.TILED or form.names_full)
        return list(dict.fromkeys(found))


def list_renditions(info: ImageInfo, longest: int, max_pixels: int, has_whole: bool = True) -> list[Rendition]:
    """Return the renditions to try, the best first: a listed size, tiles of two sizes, and the full size in one file.

    A sufficient listed size comes before tiles if it is nearer to the wanted length. A size of less than half the
    wanted length is only returned if the server states nothing larger.

    Args:
        info: Content of ``info.json``.
        longest: Wanted length of the longer side, in pixels.
        max_pixels: Largest number of pixels of an image that is put together.
        has_whole: Whether the server may have the full size in one file. Many static services do not have it.
    """
    wanted = min(longest, max(info.width, info.height))
    listed = [_build_single(info, Kind.LISTED, size) for size in info.sizes]
    tiled = [rendition for tiles in info.tiles for rendition in _list_tiled(info, tiles, max_pixels)]
    picks = [*_pick(listed, wanted, 1), *_pick(tiled, wanted, 2)]
    usable = [pick for pick in picks if 2 * pick.longest >= wanted]
    usable.sort(
        key=lambda pick: (pick.longest < _SUFFICIENT * wanted, abs(math.log(pick.longest / wanted)), len(pick.tiles))
    )
    whole = _build_single(info, Kind.WHOLE, (info.width, info.height))
    is_limited = info.max_width or info.max_height or info.max_area  # then the file is smaller than the full size
    whole_first = has_whole and not is_limited and not (usable and usable[0].longest < whole.longest)
    order = [whole, *usable] if whole_first else [*usable, whole]
    return order if usable else [*order, *picks]


def needs_info(info: ImageInfo, longest: int) -> bool:
    """Return whether the ``info.json`` of this very image is required, because its tiles may be fetched.

    Scale factors depend on the size of an image. Those of another image of the server do not apply.
    """
    if info.service.level > 0 or not info.tiles:
        return False
    return list_renditions(info, longest, info.width * info.height)[0].kind is not Kind.LISTED


def _pick(renditions: list[Rendition], wanted: int, count: int) -> list[Rendition]:
    """Return the smallest renditions that are large enough, or else the largest one. Few tiles are better than many."""
    ordered = sorted(renditions, key=lambda each: (each.longest, len(each.tiles)))
    larger = [each for each in ordered if each.longest >= wanted]
    return larger[:count] or [each for each in ordered if each.longest == ordered[-1].longest][:1]


def _build_single(info: ImageInfo, kind: Kind, size: Size) -> Rendition:
    return Rendition(kind, *size, (Tile((0, 0, info.width, info.height), (size, size, size)),))


def _list_tiled(info: ImageInfo, tiles: TileSet, max_pixels: int) -> Iterator[Rendition]:
    """Yield the renditions that a set of tiles offers, without those that would need too many requests."""
    for factor in tiles.scale_factors:
        width, height = -(-info.width // factor), -(-info.height // factor)
        across, down = tiles.width * factor, tiles.height * factor
        count = -(-info.width // across) * -(-info.height // down)
        if count <= MOST_TILES and width * height <= max_pixels:
            columns, rows = _split(info.width, across, factor), _split(info.height, down, factor)
            parts = tuple(_build_tile(x, y, w, h, factor) for (y, h), (x, w) in itertools.product(rows, columns))
            yield Rendition(Kind.TILED, width, height, parts, factor)


def _split(length: int, step: int, factor: int) -> list[tuple[int, int]]:
    """Split a side of the image into (start, length) of tiles.

    A rest that is smaller than one pixel of the tiles is left out, because some generators write no tile for it:
    https://github.com/glenrobson/iiif-tiler
    """
    parts = [(start, min(step, length - start)) for start in range(0, length, step)]
    return parts[:-1] if len(parts) > 1 and parts[-1][1] < factor else parts


def _build_tile(x: int, y: int, w: int, h: int, factor: int) -> Tile:
    def scale(rounded: Callable[[float], int]) -> Size:
        return max(1, rounded(w / factor)), max(1, rounded(h / factor))

    return Tile((x, y, w, h), (scale(math.ceil), scale(lambda value: math.floor(value + 0.5)), scale(math.floor)))
