"""IIIF image services, and the URLs of image requests.

Versions 1.1, 2.1 and 3.0: https://iiif.io/api/image/1.1/, https://iiif.io/api/image/2.1/, https://iiif.io/api/image/3.0/
All sizes are in image pixels, which may differ from canvas units.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.iiif.json_ld import is_web_address, read_address, read_ids, upgrade

# region/size/rotation/quality.format after the ID of an image: https://iiif.io/api/image/3.0/#4-image-requests
IMAGE_REQUEST = re.compile(r"/[^/]+/[^/]+/!?[\d.]+/(default|native|color|gr[ae]y|bitonal)(\.\w+)?([?#].*)?$")
_WHOLE_IMAGE = re.compile(r"/full/(full|max|pct:100)/0/\w+(\.\w+)?([?#].*)?$")
_UPRIGHT_IMAGE = re.compile(r"/full/[^/]+/0/\w+(\.\w+)?([?#].*)?$")
_SIZED_IMAGE = re.compile(r"/full/!?(\d{0,9}),(\d{0,9})/0/\w+(\.\w+)?([?#].*)?$")
INFO_REQUEST = re.compile(r"/+info\.json/*([?#].*)?$", re.I)

Box = tuple[int, int, int, int]  # ``x y w h`` in pixels of the full-size image


@dataclass(frozen=True)
class ImageService:
    """An image service as a manifest describes it.

    Attributes:
        id: Base URL of every request, without a trailing slash.
        version: Version of the Image API: 1, 2 or 3.
        level: Compliance level; a service of level 0 serves only the sizes that it lists.
    """

    id: str
    version: int
    level: int

    @property
    def info_url(self) -> str:
        return f"{self.id}/info.json"

    @property
    def full_size(self) -> str:
        """The keyword for the full size in an image request."""
        return "max" if self.version == 3 else "full"

    @property
    def quality(self) -> str:
        """The usual quality in an image request."""
        return "native" if self.version == 1 else "default"

    @property
    def file_name(self) -> str:
        """The last part of an image request: quality and format."""
        return f"{self.quality}.jpg"


def strip_request(url: str) -> str:
    """Return an image URL without the image request at its end: the base URL of the service, if there is one."""
    return IMAGE_REQUEST.sub("", url)


def asks_for_less(url: str) -> bool:
    """Return whether a URL requests less than the whole image at full size from an image service."""
    return bool(IMAGE_REQUEST.search(url)) and not _WHOLE_IMAGE.search(url)


def contradicts_size(url: str, width: int, height: int) -> bool:
    """Return whether a URL requests the whole image at a size that is smaller than a stated one.

    Some manifests state the full size of an image next to the URL of a reduced one.
    """
    found = _SIZED_IMAGE.search(url)
    limits = [int(text) if text else math.inf for text in found.group(1, 2)] if found else [math.inf, math.inf]
    return width > limits[0] or height > limits[1]


def shows_part(url: str) -> bool:
    """Return whether a URL requests a region of an image, or the image rotated, from an image service."""
    return bool(IMAGE_REQUEST.search(url)) and not _UPRIGHT_IMAGE.search(url)


def clean_service_id(url: str) -> str:
    """Return the base URL of a service. Some manifests add ``info.json`` or an image request to it.

    >>> clean_service_id("https://a.example/iiif/1/info.json?x")
    'https://a.example/iiif/1'
    """
    while (base := strip_request(INFO_REQUEST.sub("", url)).rstrip("/")) != url:
        url = base
    return base


def parse_service(block: Mapping[str, Any], image_url: str = "", document: str = "") -> ImageService | None:
    """Parse a service block of a manifest; return None if it is not an image service.

    Args:
        block: Service block. A service given only by its URL has only an ID.
        image_url: URL of the image that has the service. If it is an image request to the same service, the block does
            not need a type.
        document: URL of the manifest, to resolve a relative ID.
    """
    address = read_address(block, document)
    # A server that redirects http to https would redirect each request.
    base = upgrade(clean_service_id(address), image_url, document)
    words = read_claims(block)
    if not is_web_address(base):
        return None
    version, level = find_version(words), find_level(words)
    if "image" not in words.lower():
        is_image = level is not None or INFO_REQUEST.search(address) or is_image_request(image_url, base)
        if not is_image:
            return None
        version = _guess_version(image_url)
    return ImageService(base, version or 2, 1 if level is None else level)


def is_image_request(url: str, base: str) -> bool:
    """Return whether a URL requests an image from the service with this base URL."""
    start = strip_request(url)
    return start != url and upgrade(start.rstrip("/"), base) == base


def derive_service(image_url: str) -> ImageService | None:
    """Derive the image service from an image URL, for images without a service in the manifest.

    The URL must request the whole image. The service gets level 0, so its first request is the same URL: if there is no
    such service, nothing is lost.
    """
    base = strip_request(image_url)
    service = ImageService(base.rstrip("/"), _guess_version(image_url), 0)
    whole = build_image_url(service, service.full_size)
    found = is_web_address(base) and whole.removeprefix(service.id) == image_url.removeprefix(base)
    return service if found else None


def _guess_version(image_url: str) -> int:
    """Guess the version from the keywords of an image request; ``info.json`` overrides it later."""
    request = image_url.removeprefix(strip_request(image_url))
    return 1 if "/native" in request else 3 if "/max/" in request else 2


def read_claims(block: Mapping[str, Any]) -> str:
    """Return what a service states about itself, as one text: ``…/api/image/2/context.json …/level1.json``."""
    keys = ("@context", "type", "@type", "profile", "protocol", "conformsTo")
    return " ".join(word for key in keys for word in read_ids(block.get(key)))


def find_version(words: str) -> int | None:
    found = re.search(r"ImageService(\d)|/image(?:-api)?/(\d)|image-api/(?:compliance|conformance)", words, re.I)
    if not found:
        return None
    number = next(filter(None, found.groups()), "1")  # the compliance URIs of version 1 contain no number
    return min(max(int(number), 1), 3)


def find_level(words: str) -> int | None:
    # The features of a service are the union of those of its profiles: https://iiif.io/api/image/2.1/#profile-description
    return max(map(int, re.findall(r"level[ _-]?(\d)", words, re.I)), default=None)


def build_image_url(service: ImageService, size: str, name: str = "") -> str:
    """Return the URL of the whole image at a size in the syntax of the Image API (``full``, ``max``, ``640,``)."""
    return f"{service.id}/full/{size}/0/{name or service.file_name}"


def build_region_url(service: ImageService, box: Box, size: str = "", name: str = "") -> str:
    """Return the URL of a region, by default at full size."""
    region = ",".join(map(str, box))
    return f"{service.id}/{region}/{size or service.full_size}/0/{name or service.file_name}"
