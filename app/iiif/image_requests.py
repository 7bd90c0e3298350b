"""Image requests at the required size and no larger, in the forms that servers support."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from app.iiif.canvas import CanvasImage
from app.iiif.image_api import Box, ImageService, build_image_url, build_region_url
from app.iiif.image_info import ImageInfo, Size, list_names


@dataclass(frozen=True)
class ImageRequest:
    """One form of a request.

    Attributes:
        url: Complete URL.
        longest: Longer side of the requested image, in pixels; None for an unknown full size, 0 for no image.
        form: Syntax of the size, and the name, in requests to an image service: ``w, default.jpg``. A server supports a
            form for all its images or for none. Empty for the image's own URL.
    """

    url: str
    longest: int | None = None
    form: str = field(default="", compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether the image is requested at its full size."""
        return not self.form.startswith("w,")


def choose_size(info: ImageInfo, longest: int, limit: int | None = None) -> Size:
    """Choose the (width, height) to request, with a longer side of ``longest`` pixels if possible.

    A preferred size of the server is used instead if it is at most 15 % larger. The result never exceeds the full size
    or the limits of the server.

    Args:
        info: Content of ``info.json``.
        longest: Wanted length of the longer side, in pixels.
        limit: Longer side up to which preferred sizes are used, because larger requests are rate limited.
    """
    if info.service.level == 0:
        return _choose_listed(info, longest, limit)
    largest = min(1.15 * longest, limit or math.inf)
    near = [size for size in _find_listed(info) if longest <= max(size) <= largest]
    return min(near, key=max, default=_scale(info, longest))


def _choose_listed(info: ImageInfo, longest: int, limit: int | None) -> Size:
    """Choose a listed size, or the full size if all listed sizes are less than half as long as wanted."""
    listed, whole = _find_listed(info), _scale(info, max(info.width, info.height))
    least = min(longest, max(whole)) / 2
    larger = min((size for size in listed if max(size) >= longest), key=max, default=None)
    smaller = max((size for size in listed if least <= max(size) < longest), key=max, default=None)
    if larger and smaller and max(larger) > (limit or math.inf):
        return smaller
    return larger or smaller or whole


def _scale(info: ImageInfo, longest: int) -> Size:
    """Return the full size, scaled down to the wanted length and the limits of the server."""
    longer, shorter = max(info.width, info.height), min(info.width, info.height)
    max_height, max_area = info.max_height or info.height, info.max_area or longer * shorter
    factor = min(
        Fraction(1),
        Fraction(longest, longer),
        Fraction(info.max_width or info.width, info.width),
        Fraction(max_height, info.height),
        Fraction(math.isqrt(max_area * longer // shorter), longer),
    )
    # Servers compute the height from the width. A width that is rounded up could make the height too long.
    width = max(1, math.floor(info.width * factor))
    height = max(1, min(round(info.height * factor), max_area // width))
    # In a very thin image, raising the shorter side to one pixel may have exceeded the area limit.
    return min(width, max_area // height), height


def _find_listed(info: ImageInfo) -> list[Size]:
    """Return the listed sizes that respect the limits."""
    max_width = min(info.width, info.max_width or info.width)
    max_height = min(info.height, info.max_height or info.height)
    max_area = info.max_area or max_width * max_height
    return [(w, h) for w, h in info.sizes if w <= max_width and h <= max_height and w * h <= max_area]


def build_requests(
    info: ImageInfo, longest: int, limit: int | None = None, names: Sequence[str] = ()
) -> list[ImageRequest]:
    """Return equivalent requests for a whole image of about ``longest`` pixels, the best first.

    The later requests are fallbacks for servers that deviate from their ``info.json``: other forms of the same size,
    and the largest image that the server allows, or lists at level 0. For the other arguments, see :func:`choose_size`.

    Args:
        names: Possible last parts of the URL; empty for that of the version.
    """
    service, size = info.service, choose_size(info, longest, limit)
    listed = _find_listed(info)
    whole_first = size == (info.width, info.height) or (service.level == 0 and size not in listed)
    if whole_first and service.level == 0:
        size = max(listed, key=max, default=size)
    forms = {"w,": f"{size[0]},", "w,h": f"{size[0]},{size[1]}"}
    if service.level == 0 and service.version == 3:
        forms = dict(reversed(forms.items()))
    names = names or (service.file_name,)
    sized = [_build_request(service, forms[form], max(size), form, name) for form in forms for name in names]
    # A service of version 2 that states a limit has version 2.1, in which `max` is the largest allowed size.
    limited = info.max_width or info.max_height or info.max_area
    form = "max" if limited and service.version > 1 else service.full_size
    largest = max(_scale(info, max(info.width, info.height)))
    whole = [_build_request(service, form, largest, form, name) for name in names]
    if not whole_first:
        return [*sized, *whole]
    if form == "full" and service.version == 2:
        # Cantaloupe refuses `full` beyond a limit that it does not state, and reduces the image for `max`.
        whole.append(_build_request(service, "max", largest, "max", names[0]))
    return [*whole, *sized]


def build_whole_requests(service: ImageService, names: Sequence[str], longest: int | None) -> list[ImageRequest]:
    """Return requests for a whole image at full size, without an ``info.json`` that confirms the version."""
    first, other = ("max", "full") if service.version == 3 else ("full", "max")
    pairs = [*((first, name) for name in names), (other, names[0])]
    return [_build_request(service, form, longest, form, name) for form, name in pairs]


def _build_request(service: ImageService, size: str, longest: int | None, form: str, name: str) -> ImageRequest:
    return ImageRequest(build_image_url(service, size, name), longest, f"{form} {name}")


# region/size/rotation/quality.format, for a region in pixels at full size.
_WHOLE_REGION = re.compile(r"(.+/\d{1,9},\d{1,9},(\d{1,9}),(\d{1,9}))/(?:full|max)/(!?[\d.]+/\w+\.\w+)")


@dataclass(frozen=True)
class Region:
    """A region of an image.

    Attributes:
        url: URL of the region at full size.
        width, height: Size of the region, in pixels.
        start, end: Parts of the URL before and after the size.
    """

    url: str
    width: int
    height: int
    start: str
    end: str

    def build_requests(self, shortest: int) -> list[ImageRequest]:
        """Return equivalent requests for the region, the smallest sufficient size first, ``url`` last.

        Args:
            shortest: Required length of the shorter side, in pixels.
        """
        whole = ImageRequest(self.url, max(self.width, self.height), f"region {self.end}")
        factor = max(shortest / self.width, shortest / self.height)
        if factor >= 1:
            return [whole]
        size = math.ceil(self.width * factor), math.ceil(self.height * factor)
        # A width alone is the form with the widest support in every version.
        forms = {"w,": f"{size[0]},", "w,h": f"{size[0]},{size[1]}"}
        reduced = (
            ImageRequest(f"{self.start}/{form}/{self.end}", max(size), f"region {name} {self.end}")
            for name, form in forms.items()
        )
        return [*reduced, whole]

    def rename(self) -> "Region | None":
        """Return the region with the quality of the other versions: ``default`` for ``native`` and vice versa."""
        names = {"native": "default", "default": "native"}
        quality = re.search(r"/(native|default)\.", self.end)
        if not quality:
            return None
        start = self.url.removesuffix(self.end)
        end = self.end.replace(quality[1], names[quality[1]])
        return replace(self, url=f"{start}{end}", end=end)


def parse_region(url: str) -> Region | None:
    """Parse the URL of a region at full size; return None for any other URL and for an empty region.

    >>> parse_region("https://a.example/iiif/1/10,20,300,400/full/0/default.jpg").width
    300
    """
    found = _WHOLE_REGION.fullmatch(url)
    if not found or not (int(found[2]) and int(found[3])):
        return None
    return Region(url, int(found[2]), int(found[3]), found[1], found[4])


def build_crop_url(image: CanvasImage, box: Box, size: tuple[int | None, int | None]) -> str:
    """Return the URL of a region of an image at full size; "" if no image service can be asked for it.

    Image services of level 0 serve no regions. The regions of a service whose stated size lies on its side are not
    those of the upright page.

    Args:
        image: Image of the canvas.
        box: Region of the upright page.
        size: (width, height) of the upright page in pixels, if they are known.
    """
    is_turned = image.width != image.height and (image.height, image.width) == size
    if image.service is None or image.service.level == 0 or is_turned:
        return ""
    return build_region_url(image.service, box, name=list_names(image.service, image.url, None)[0])
