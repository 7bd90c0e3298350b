"""Facts about the image servers of a job, so that later images do not repeat refused requests.

The first image of a server is fetched alone, while other threads wait; without an ``info.json``, the first three.

======================  ============================================================================
fact                    effect on later images
======================  ============================================================================
a form was refused and  the form is requested last
never succeeded
``info.json`` is        it is not requested
missing
the stated size is      each image is measured, see :mod:`app.iiif.measured_sizes`
wrong
a tile was found        URLs of the same form are requested first, see :mod:`app.iiif.tiles`
the full size is not    it is not requested from a static service
in one file
======================  ============================================================================
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.errors import FetchError
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo
from app.iiif.image_requests import ImageRequest
from app.iiif.tiles import Form
from app.net.addresses import read_host

# Number of images after which a server is known, even if no image could be fetched. If none of them has an info.json,
# the server has none.
_MOST_VISITS = 3


@dataclass
class KnownServer:
    """One image server.

    Attributes:
        working, refused: Forms of requests that returned an image, and those that did not.
        states_wrong_sizes: Whether images have another size than ``info.json`` states; None if unknown.
        has_right_infos: Whether ``info.json`` was right where the manifest states another size.
        infos: Content of the fetched ``info.json`` by the ID of the service.
        missing_infos: IDs of services without an ``info.json``.
        tile_forms: Forms of the URLs of tiles, the most probable first, by the version and the formats of the service.
        has_whole: Whether a static service may have the full size in one file.
    """

    working: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    states_wrong_sizes: bool | None = None
    has_right_infos: bool = False
    infos: dict[str, ImageInfo] = field(default_factory=dict)
    missing_infos: set[str] = field(default_factory=set)
    tile_forms: dict[tuple[int, tuple[str, ...]], list[Form]] = field(default_factory=dict)
    has_whole: bool = True
    _visits: int = 0
    _first: threading.Lock = field(default_factory=threading.Lock)

    def lacks_info(self, service: ImageService) -> bool:
        return service.id in self.missing_infos or (not self.infos and len(self.missing_infos) >= _MOST_VISITS)

    @property
    def is_known(self) -> bool:
        has_shown_infos = bool(self.infos) or not self.missing_infos
        return (bool(self.working) and has_shown_infos) or self._visits >= _MOST_VISITS

    @property
    def refuses_all(self) -> bool:
        """Whether no request succeeded so far, although several images were requested."""
        return self.is_known and bool(self.refused) and not self.working

    def believe_infos(self) -> None:
        """Believe the sizes in ``info.json`` without measuring them."""
        self.states_wrong_sizes, self.has_right_infos = False, True

    def refuses(self, request: ImageRequest) -> bool:
        """Return whether requests of this form were refused so far."""
        return request.form in self.refused - self.working

    def refuse(self, requests: Iterable[ImageRequest]) -> None:
        self.refused.update(request.form for request in requests)

    def sort(self, requests: Iterable[ImageRequest]) -> list[ImageRequest]:
        """Return the requests with the refused forms last."""
        return sorted(requests, key=self.refuses)

    @contextmanager
    def visit(self) -> Iterator["KnownServer"]:
        """Fetch an image inside this context. It waits for the first image of the server."""
        if not self.is_known:
            with self._first:
                if not self.is_known:
                    try:
                        yield self
                        self._visits += 1
                    except FetchError as error:
                        # A server that does not answer shows nothing about its forms.
                        self._visits += _MOST_VISITS if error.temporary else 1
                        raise
                    return
        yield self


class KnownServers:
    """The image servers of a job. Threads may share one."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], KnownServer] = defaultdict(KnownServer)
        self._lock = threading.Lock()

    def find(self, service: ImageService) -> KnownServer:
        with self._lock:
            return self._servers[read_host(service.id), service.version]

    def find_regions(self, url: str) -> KnownServer:
        """Return the facts about the regions of a server, given the URL of one."""
        with self._lock:
            return self._servers[read_host(url), 0]  # the URL of a region does not show the version
