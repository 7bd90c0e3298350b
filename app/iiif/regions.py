"""Regions of images: parts that an image service cuts out, at the size that is needed.

https://iiif.io/api/image/3.0/#4-image-requests. A region's address says how large it is, so nothing need be asked of
the service beforehand.
"""

import math
import re
from dataclasses import dataclass

from app.iiif.image_api import ImageService
from app.iiif.image_requests import ImageRequest

# region/size/rotation/quality.format, of a region in pixels at its full size.
_WHOLE_REGION = re.compile(r"(.+/\d{1,9},\d{1,9},(\d{1,9}),(\d{1,9}))/(?:full|max)/(!?[\d.]+/\w+\.\w+)")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Region:
    """A part of an image.

    Attributes:
        url: Of the part at its full size.
        width, height: Of that, in pixels.
        start, end: What stands before and after the size in the address.
    """

    url: str
    width: int
    height: int
    start: str
    end: str

    def build_requests(self, shortest: int) -> list[ImageRequest]:
        """Return the requests for it, the best first: as small as will do, and last as its address has it.

        Args:
            shortest: Neither side need be longer, in pixels.
        """
        whole = ImageRequest(self.url, max(self.width, self.height))
        factor = max(shortest / self.width, shortest / self.height)
        if factor >= 1:
            return [whole]
        size = math.ceil(self.width * factor), math.ceil(self.height * factor)
        # A width alone is in every version what the least able service knows.
        forms = (f"{size[0]},", f"{size[0]},{size[1]}")
        return [*(ImageRequest(f"{self.start}/{form}/{self.end}", max(size)) for form in forms), whole]


def parse_region(url: str) -> Region | None:
    """Read the address of a region at its full size; None when it is none, or the region has no pixel.

    >>> parse_region("https://a.example/iiif/1/10,20,300,400/full/0/default.jpg").width
    300
    """
    found = _WHOLE_REGION.fullmatch(url)
    if not found or not (int(found[2]) and int(found[3])):
        return None
    return Region(url, int(found[2]), int(found[3]), found[1], found[4])


def build_region_url(service: ImageService, box: Box) -> str:
    """Return the address of a part of an image, ``x y w h`` in pixels of the full-size image, at its full size."""
    quality = "native" if service.version == 1 else "default"
    return f"{service.id}/{','.join(map(str, box))}/{service.full_size}/0/{quality}.jpg"
