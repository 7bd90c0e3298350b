"""Check the image sizes that a manifest states on a sample, so that most pages need one request instead of two.

For each server, the sample contains the first image, the last image, and others at equal intervals. Only for these
images is ``info.json`` fetched.

==============================  ==================================================================
result of the sample            requests for the other images of that server
==============================  ==================================================================
all sizes agree                 the size from the manifest; the version, level, limits, listed sizes
                                and new address of the server from the sample
no image has an ``info.json``   the size, version and level from the manifest
one size differs, or a          ``info.json`` is fetched for each image
temporary error
==============================  ==================================================================

A server with a single image has no sample. A strip of this image replaces its ``info.json`` if the strip has the stated
height, because it then proves more: ``info.json`` may repeat the error of the manifest.

If a fetched image does not have the stated proportions, the manifest is wrong although the sample agreed. From then on,
``info.json`` is fetched for each image of the server. The caller fetches the earlier images again, which
:meth:`StatedSizes.list_doubtful` returns.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo, Size
from app.net.addresses import read_host

# Size of the sample of a server: one in `SAMPLE_RATIO` images, within the two limits.
SAMPLE_RATIO, FEWEST_SAMPLES, MOST_SAMPLES = 40, 3, 12
# Longer lists contain sizes that are no division by a power of two: dimensions are below 2**30.
_MOST_SIZES = 32

FetchInfo = Callable[[ImageService], ImageInfo]


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
        # Several canvases may have the same image, such as a placeholder for missing pages.
        self._servers = {host: _Server([*dict.fromkeys(group)], fetch_info) for host, group in groups.items()}

    def describe(self, image: CanvasImage) -> ImageInfo | None:
        """Return the description of an image without fetching its ``info.json``, or None if it must be fetched.

        The first call for a server fetches the sample; calls of other threads wait for it.
        """
        server = self._find(image)
        return server.describe(image) if server else None

    def describe_single(self, image: CanvasImage) -> ImageInfo | None:
        """Return the description of the only image of a server, by the manifest alone; None for other images."""
        server = self._find(image)
        return server.describe_single() if server else None

    def distrust(self, image: CanvasImage) -> None:
        """Record that an image does not have the stated size."""
        if server := self._find(image):
            server.distrust()

    def list_doubtful(self) -> list[CanvasImage]:
        """Return the images that were requested by a stated size before the sizes of their server proved wrong.

        Each image is returned once.
        """
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
        self._move = ("", "")
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

    def describe_single(self) -> ImageInfo | None:
        (image, *others) = self._images
        if others or self._is_checked or not (image.service and image.width and image.height):
            return None
        return ImageInfo(image.service, image.width, image.height)

    def distrust(self) -> None:
        with self._lock:
            self._is_trusted = False

    def list_doubtful(self) -> list[CanvasImage]:
        with self._lock:
            if self._is_trusted:
                return []
            doubtful, self._described = self._described, []
            return doubtful

    def _check(self) -> bool:
        """Fetch the sample; return whether it confirms the stated sizes."""
        sample = choose_sample(self._images)
        for image in sample:
            try:
                if image.service:
                    self._sample[image] = self._fetch_info(image.service)
            except FetchError as error:
                if error.temporary:
                    return False
        # If only some images of the sample have an info.json, the other images are unpredictable.
        complete = len(self._sample) in (0, len(sample))
        kinds = {(info.service.version, info.service.level, *_limits(info)) for info in self._sample.values()}
        agree = all((info.width, info.height) == (image.width, image.height) for image, info in self._sample.items())
        moves = {find_move(image.base, info.service.id) for image, info in self._sample.items()}
        self._move = next(iter(moves), self._move)
        return complete and agree and len(kinds) <= 1 and len(moves) <= 1

    def _build_info(self, service: ImageService, size: Size) -> ImageInfo:
        if not self._sample:
            return ImageInfo(service, *size)
        known = [*self._sample.values()]
        old, new = self._move
        base = f"{new}{service.id.removeprefix(old)}" if service.id.startswith(old) else service.id
        like = replace(known[0].service, id=base)
        return replace(known[0], service=like, width=size[0], height=size[1], sizes=predict_sizes(known, size))


def _limits(info: ImageInfo) -> tuple[int | None, ...]:
    return info.max_width, info.max_height, info.max_area


def find_move(stated: str, found: str) -> tuple[str, str]:
    """Return the different starts of two URLs: the move of a server, such as from ``http`` to ``https``.

    >>> find_move("http://a.example/iiif/1", "https://a.example/iiif/1")
    ('http', 'https')
    """
    pairs = zip(reversed(stated), reversed(found), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return stated[: len(stated) - shared], found[: len(found) - shared]


def choose_sample(images: Sequence[CanvasImage]) -> list[CanvasImage]:
    """Return the images whose ``info.json`` is fetched: the first, the last, and others at equal intervals."""
    count = min(len(images), MOST_SAMPLES, max(FEWEST_SAMPLES, len(images) // SAMPLE_RATIO))
    steps = max(1, count - 1)
    return [images[round(number * (len(images) - 1) / steps)] for number in range(count)]


def predict_sizes(known: Sequence[ImageInfo], size: Size) -> tuple[Size, ...]:
    """Return the sizes that a server lists for an image, by the rule that holds for other images of the server.

    An image of the same size as a known image has the same listed sizes. Otherwise a rule is needed: most servers list
    the full size divided by powers of two, rounded in one of three ways. Without a rule, the result is empty.

    Args:
        known: Descriptions of other images.
        size: (width, height) of the image, in pixels.
    """
    for info in known:
        if (info.width, info.height) == size:
            return info.sizes
    if any(len(info.sizes) > _MOST_SIZES for info in known):
        return ()
    for rounded in (math.floor, math.ceil, round):
        if all(_list_halves(info, rounded) == {*info.sizes} for info in known):
            shared = set.intersection(*({_count_halvings(info, listed) for listed in info.sizes} for info in known))
            return tuple(sorted(_divide(size, halvings, rounded) for halvings in shared))
    return ()


def _list_halves(info: ImageInfo, rounded: Callable[[float], int]) -> set[Size]:
    """Replace each listed size by the nearest division of the full size by a power of two."""
    return {_divide((info.width, info.height), _count_halvings(info, listed), rounded) for listed in info.sizes}


def _count_halvings(info: ImageInfo, listed: Size) -> int:
    return round(math.log2(max(info.width, info.height) / max(listed)))


def _divide(size: Size, halvings: int, rounded: Callable[[float], int]) -> Size:
    factor = 2.0**halvings
    return max(1, rounded(size[0] / factor)), max(1, rounded(size[1] / factor))
