"""Check the image sizes that a manifest states on a sample, so that most pages need one request instead of two.

The sample is some images of each server: the first, the last, and others evenly between. The ``info.json`` of these is
fetched.

==============================  ==================================================================
result of the sample            the other images of that server
==============================  ==================================================================
all sizes agree                 requested by the stated size, with what the sample says of the
                                server: version, level, limits and listed sizes
no image has an ``info.json``   requested by the stated size, with what the manifest says
one size differs, or a          each gets its own ``info.json``
temporary error
==============================  ==================================================================

An image that arrives with other proportions than the stated ones shows that the manifest is wrong after all. From then
on each image of the server gets its own ``info.json``, and :meth:`StatedSizes.list_doubtful` returns the earlier ones.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.image_api import ImageInfo, ImageService
from app.net.addresses import read_host

# Images of a server whose `info.json` is fetched: one in this many, within the limits.
SAMPLE_RATIO, FEWEST_SAMPLES, MOST_SAMPLES = 40, 3, 12

FetchInfo = Callable[[ImageService], ImageInfo]
Size = tuple[int, int]


class StatedSizes:
    """The image sizes that a manifest states, checked on a sample. Threads may share one.

    Args:
        images: Images of the manifest that will be fetched.
        fetch_info: Fetches and parses the ``info.json`` of a service; raises ``FetchError``.
    """

    def __init__(self, images: Iterable[CanvasImage], fetch_info: FetchInfo) -> None:
        groups: dict[str, list[CanvasImage]] = defaultdict(list)
        for image in images:
            if image.service and image.width and image.height:
                groups[read_host(image.service.id)].append(image)
        self._servers = {host: _Server(group, fetch_info) for host, group in groups.items()}

    def describe(self, image: CanvasImage) -> ImageInfo | None:
        """Return the description of an image without a request of its own, or None if its ``info.json`` is needed.

        The first call for a server fetches the sample; calls of other threads wait for it.
        """
        server = self._find(image)
        return server.describe(image) if server else None

    def distrust(self, image: CanvasImage) -> None:
        """Record that an image does not have the stated size."""
        if server := self._find(image):
            server.distrust()

    def list_doubtful(self) -> list[CanvasImage]:
        """Return the images described by a stated size before an image of the same server showed it to be wrong."""
        return [image for server in self._servers.values() for image in server.list_doubtful()]

    def _find(self, image: CanvasImage) -> "_Server | None":
        return self._servers.get(read_host(image.service.id)) if image.service else None


class _Server:
    """The images of one server."""

    def __init__(self, images: Sequence[CanvasImage], fetch_info: FetchInfo) -> None:
        self._images = images
        self._fetch_info = fetch_info
        self._lock = threading.Lock()
        self._is_checked = self._is_trusted = False
        self._sample: dict[CanvasImage, ImageInfo] = {}
        self._described: list[CanvasImage] = []

    def describe(self, image: CanvasImage) -> ImageInfo | None:
        with self._lock:
            if not self._is_checked:
                self._is_trusted = self._check()
                self._is_checked = True
            if image in self._sample:
                return self._sample[image]
            if not self._is_trusted or not (image.service and image.width and image.height):
                return None
            info = self._build_info(image.service, (image.width, image.height))
            if info.service.level == 0 and self._sample and not info.sizes:
                return None  # only the listed sizes exist, and they are unknown
            self._described.append(image)
            return info

    def distrust(self) -> None:
        with self._lock:
            self._is_trusted = False

    def list_doubtful(self) -> list[CanvasImage]:
        with self._lock:
            doubtful = [] if self._is_trusted else self._described
            self._described = []
            return doubtful

    def _check(self) -> bool:
        """Fetch the sample; return whether it confirms the stated sizes."""
        for image in choose_sample(self._images):
            try:
                if image.service:
                    self._sample[image] = self._fetch_info(image.service)
            except FetchError as error:
                if error.temporary:
                    return False
        # A sample in which some images have an info.json and others do not says nothing of the rest.
        complete = len(self._sample) in (0, len(choose_sample(self._images)))
        kinds = {(info.service.version, info.service.level, *_limits(info)) for info in self._sample.values()}
        agree = all((info.width, info.height) == (image.width, image.height) for image, info in self._sample.items())
        return complete and agree and len(kinds) <= 1

    def _build_info(self, service: ImageService, size: Size) -> ImageInfo:
        if not self._sample:
            return ImageInfo(service, *size)
        known = [*self._sample.values()]
        like = replace(service, version=known[0].service.version, level=known[0].service.level)
        return replace(known[0], service=like, width=size[0], height=size[1], sizes=predict_sizes(known, size))


def _limits(info: ImageInfo) -> tuple[int | None, ...]:
    return info.max_width, info.max_height, info.max_area


def choose_sample(images: Sequence[CanvasImage]) -> list[CanvasImage]:
    """Return the images whose ``info.json`` is fetched: the first, the last and others evenly between."""
    count = min(len(images), MOST_SAMPLES, max(FEWEST_SAMPLES, len(images) // SAMPLE_RATIO))
    steps = max(1, count - 1)
    return [images[round(number * (len(images) - 1) / steps)] for number in range(count)]


def predict_sizes(known: Sequence[ImageInfo], size: Size) -> tuple[Size, ...]:
    """Return the sizes that a server lists for an image, by the rule that holds for other images of the server.

    Servers list the full size divided by powers of two, rounded in one of three ways. Without such a rule, and for
    images of another size, the result is empty.

    Args:
        known: Descriptions of other images.
        size: (width, height) of the image, in pixels.
    """
    for info in known:
        if (info.width, info.height) == size:
            return info.sizes
    for rounded in (math.floor, math.ceil, round):
        if all(_list_halves(info, rounded) == {*info.sizes} for info in known):
            shared = set.intersection(*({_count_halvings(info, listed) for listed in info.sizes} for info in known))
            return tuple(sorted(_divide(size, halvings, rounded) for halvings in shared))
    return ()


def _list_halves(info: ImageInfo, rounded: Callable[[float], int]) -> set[Size]:
    """Return the listed sizes as they would be if each were a division by a power of two."""
    return {_divide((info.width, info.height), _count_halvings(info, listed), rounded) for listed in info.sizes}


def _count_halvings(info: ImageInfo, listed: Size) -> int:
    return round(math.log2(max(info.width, info.height) / max(listed)))


def _divide(size: Size, halvings: int, rounded: Callable[[float], int]) -> Size:
    factor = 2.0**halvings
    return max(1, rounded(size[0] / factor)), max(1, rounded(size[1] / factor))
