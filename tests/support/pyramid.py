"""A folder of tiles, as ``vips dzsave --layout iiif`` and the generators of static IIIF services write it."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw

from tests.support.library import CONTEXTS, PROFILES, Answer, Library

BOX = (96, 160, 400, 640)  # left, top, right and bottom of the black rectangle on each page


@dataclass(frozen=True)
class Pyramid:
    """A page with a black rectangle, cut into tiles.

    Attributes:
        width, height: Size of the page.
        version: Version of the Image API; ``w,`` is the size of a tile in versions 1 and 2, ``w,h`` in version 3.
        tile: Width of the tiles.
        tile_height: Height of the tiles; 0 for that of a square, which ``info.json`` does not state.
        factors: Scale factors.
        rounded: Rounding of the size of a tile at the right or bottom edge.
        names_full: Whether a tile of the whole page is named ``full``.
        sizes: Sizes that are listed and served.
        has_whole: Whether the full size is served in one file.
        more: Members to add to or replace in ``info.json``.
        extension: File extension of the tiles.
    """

    width: int = 800
    height: int = 1000
    version: int = 2
    tile: int = 256
    tile_height: int = 0
    factors: tuple[int, ...] = (1, 2, 4)
    rounded: Callable[[float], int] = math.ceil
    names_full: bool = True
    sizes: tuple[tuple[int, int], ...] = ()
    has_whole: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    extension: str = "jpg"

    def build_info(self, base: str) -> dict[str, Any]:
        tiles: dict[str, Any] = {"width": self.tile, "scaleFactors": [*self.factors]}
        tiles |= {"height": self.tile_height} if self.tile_height else {}
        info = {"@context": CONTEXTS[self.version], "profile": PROFILES[self.version].format(level=0), "@id": base}
        info |= {"width": self.width, "height": self.height, "tiles": [tiles]}
        if self.sizes:
            info["sizes"] = [{"width": width, "height": height} for width, height in self.sizes]
        return info | self.more

    def serve(self, library: Library, name: str = "p") -> str:
        """Serve the tiles and ``info.json``. Return the URL of the service."""
        base = f"{library.url}/tiles/{name}"
        library.answer(f"/tiles/{name}/info.json", Answer(body=self.build_info(base)))
        for path, content in self.draw().items():
            library.answer(f"/tiles/{name}/{path}", Answer(body=content))
        return base

    def draw(self) -> dict[str, bytes]:
        """Return the files by path."""
        page = Image.new("RGB", (self.width, self.height), "white")
        ImageDraw.Draw(page).rectangle((BOX[0], BOX[1], BOX[2] - 1, BOX[3] - 1), fill="black")
        files = {}
        for factor in self.factors:
            wide, high = self.tile * factor, (self.tile_height or self.tile) * factor
            for y in range(0, self.height, high):
                for x in range(0, self.width, wide):
                    w, h = min(wide, self.width - x), min(high, self.height - y)
                    size = max(1, self.rounded(w / factor)), max(1, self.rounded(h / factor))
                    part = page.crop((x, y, x + w, y + h)).resize(size, Image.Resampling.BOX)
                    is_full = self.names_full and (w, h) == page.size
                    files[self._name("full" if is_full else f"{x},{y},{w},{h}", size)] = self._write(part)
        for size in self.sizes:
            files[self._name("full", size)] = self._write(page.resize(size, Image.Resampling.BOX))
        if self.has_whole:
            files[f"full/{'max' if self.version == 3 else 'full'}/0/default.{self.extension}"] = self._write(page)
        return files

    def _name(self, region: str, size: tuple[int, int]) -> str:
        shown = f"{size[0]},{size[1]}" if self.version == 3 else f"{size[0]},"
        return f"{region}/{shown}/0/{'native' if self.version == 1 else 'default'}.{self.extension}"

    def _write(self, image: Image.Image) -> bytes:
        content = io.BytesIO()
        image.save(content, {"jpg": "JPEG"}.get(self.extension, self.extension))
        return content.getvalue()


def find_box(data: bytes, full: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the black rectangle on a page, in pixels of the full size."""
    with Image.open(io.BytesIO(data)) as page:
        left, top, right, bottom = page.convert("L").point(lambda value: 255 * (value < 128)).getbbox() or (0, 0, 0, 0)
        across, down = full[0] / page.width, full[1] / page.height
    return left * across, top * down, right * across, bottom * down
