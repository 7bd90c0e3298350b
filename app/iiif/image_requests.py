"""What is asked of an image service: the size that is needed and no larger, in the forms that servers know."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from app.iiif.image_api import ImageInfo, ImageService, build_image_url


@dataclass(frozen=True)
class ImageRequest:
    """One form of a request.

    Attributes:
        url: The whole address.
        longest: Longer side of what is asked for, in pixels; None for an unknown full size, 0 for no image.
    """

    url: str
    longest: int | None = None


def choose_size(info: ImageInfo, longest: int, limit: int | None = None) -> tuple[int, int]:
    """Return the (width, height) to ask for, so that the longer side is ``longest`` where possible.

    A size that the server has ready is taken instead when it is at most 15 % larger; never more than the full
    size, nor more than the server allows.

    Args:
        info: What there is.
        longest: Wanted length of the longer side.
        limit: A larger size would be given slowly: one that is ready is taken up to this length only.
    """
    if info.service.level == 0:
        return _choose_ready(info, longest, limit)
    largest = min(1.15 * longest, limit or math.inf)
    near = [size for size in _find_ready(info) if longest <= max(size) <= largest]
    return min(near, key=max, default=_scale(info, longest))


def _choose_ready(info: ImageInfo, longest: int, limit: int | None) -> tuple[int, int]:
    """Return a size of those that are ready, or the whole image when in the largest of them too little is seen."""
    ready, whole = _find_ready(info), _scale(info, max(info.width, info.height))
    least = min(longest, max(whole)) / 2
    larger = min((size for size in ready if max(size) >= longest), key=max, default=None)
    smaller = max((size for size in ready if least <= max(size) < longest), key=max, default=None)
    if larger and smaller and max(larger) > (limit or math.inf):
        return smaller
    return larger or smaller or whole


def _scale(info: ImageInfo, longest: int) -> tuple[int, int]:
    """Return the full size, reduced so that neither side is longer than what is wanted and what the server allows."""
    longer, shorter = max(info.width, info.height), min(info.width, info.height)
    max_height, max_area = info.max_height or info.height, info.max_area or longer * shorter
    factor = min(
        Fraction(1),
        Fraction(longest, longer),
        Fraction(info.max_width or info.width, info.width),
        Fraction(max_height, info.height),
        Fraction(math.isqrt(max_area * longer // shorter), longer),
    )
    # Servers that are given a width find the height themselves: rounded up, the width could make it too long.
    width = max(1, math.floor(info.width * factor))
    height = max(1, min(round(info.height * factor), max_area // width))
    # Of an image as thin as a hair, the side that cannot be less than a pixel may have been made larger.
    return min(width, max_area // height), height


def _find_ready(info: ImageInfo) -> list[tuple[int, int]]:
    """Return the listed sizes that may be asked for."""
    max_width = min(info.width, info.max_width or info.width)
    max_height = min(info.height, info.max_height or info.height)
    max_area = info.max_area or max_width * max_height
    return [(w, h) for w, h in info.sizes if w <= max_width and h <= max_height and w * h <= max_area]


def build_requests(info: ImageInfo, longest: int, limit: int | None = None) -> list[ImageRequest]:
    """Return the requests for a whole image of about ``longest`` pixels, the best first.

    The later ones are for servers that do not do what they say: other forms of the same size, and all that the server
    gives, or at level 0 all that it lists. The arguments are those of :func:`choose_size`.
    """
    service, size = info.service, choose_size(info, longest, limit)
    ready = _find_ready(info)
    whole_first = size == (info.width, info.height) or (service.level == 0 and size not in ready)
    if whole_first and service.level == 0:
        size = max(ready, key=max, default=size)
    forms = [f"{size[0]},", f"{size[0]},{size[1]}"]
    if service.level == 0 and service.version == 3:
        forms.reverse()
    sized = [ImageRequest(build_image_url(service, form), max(size)) for form in forms]
    # A service of version 2 that states a limit is of 2.1, where max is what it allows.
    limited = info.max_width or info.max_height or info.max_area
    form = "max" if limited and service.version > 1 else service.full_size
    whole = ImageRequest(build_image_url(service, form), max(_scale(info, max(info.width, info.height))))
    return [whole, *sized] if whole_first else [*sized, whole]


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
