"""Fetch the image of a canvas, at the required size and no larger."""

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.errors import FetchError, NotAnImage
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher, ImageFile
from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo, Size, list_names, parse_image_info
from app.iiif.image_requests import ImageRequest, build_requests, build_whole_requests, choose_size
from app.iiif.known_servers import KnownServer, KnownServers
from app.iiif.measured_sizes import (
    check_height,
    find_full_size,
    has_height,
    has_proportions,
    is_other_image,
    is_turned,
    read_stated,
)
from app.iiif.stated_sizes import StatedSizes
from app.iiif.tile_fetching import fetch_static
from app.iiif.tiles import needs_info
from app.net.addresses import read_host


@dataclass(frozen=True)
class FetchedImage:
    """An image file and the size of the full-size image.

    Attributes:
        data: Content of the file, unchanged.
        full_width, full_height: Size of the full-size image in image pixels; the file may be smaller.
        note: Sentence for the user if the library states another size, or "".
    """

    data: bytes
    full_width: int
    full_height: int
    note: str = ""


def fetch_canvas_image(
    fetcher: Fetcher,
    image: CanvasImage,
    longest: int | None,
    sizes: StatedSizes | None = None,
    servers: KnownServers | None = None,
) -> FetchedImage:
    """Fetch the image of a canvas.

    The stated size of the full-size image comes from the first of these sources that is available:

    1. the manifest, if a sample has confirmed its sizes (see :mod:`app.iiif.stated_sizes`);
    2. ``info.json``;
    3. the manifest, without confirmation;
    4. the full-size image, which is fetched and measured.

    :mod:`app.iiif.measured_sizes` decides whether the fetched image has this size.

    All sizes are those of the upright image, see :mod:`app.images.orientation`.

    Args:
        fetcher: HTTP client.
        image: Image to fetch.
        longest: Wanted length of the longer side, in pixels; None for the full size.
        sizes: Sizes that the manifest states; None to fetch the ``info.json`` of every image, and to believe it.
        servers: Facts about the servers that are known from earlier images.

    Raises:
        FetchError: No form of the request returned an image.
    """
    if image.service is None:
        file = fetcher.fetch_image([ImageRequest(image.url)])
        return FetchedImage(file.data, *file.size)
    server = (servers or KnownServers()).find(image.service)
    if sizes is None:
        server.believe_infos()
    with server.visit():
        return _Page(fetcher, image, image.service, longest, server).fetch(sizes)


def fetch_info(fetcher: Fetcher, service: ImageService, server: KnownServer) -> ImageInfo:
    """Fetch and parse the ``info.json`` of a service. A description that is sent with a refusal counts.

    Raises:
        FetchError: It could not be fetched, or does not describe an image.
    """
    if service.id in server.infos:
        return server.infos[service.id]
    if server.lacks_info(service):
        raise FetchError(f"{service.info_url} was not requested, because the server has no info.json.")
    try:
        response = fetcher.fetch_response(service.info_url, accepted=frozenset({200, 401, 403}))
        info = parse_image_info(response.body, service, response.url, is_restricted=response.status != 200)
    except FetchError as error:
        if not error.temporary:
            server.missing_infos.add(service.id)
        raise
    server.infos[service.id] = info
    return info


class _Page:
    """The fetch of one image from its service.

    Args:
        fetcher: HTTP client.
        image: Image to fetch.
        service: Its service.
        longest: Wanted length of the longer side, in pixels; None for the full size.
        server: Facts about the server of the service.
    """

    def __init__(
        self, fetcher: Fetcher, image: CanvasImage, service: ImageService, longest: int | None, server: KnownServer
    ) -> None:
        self._fetcher = fetcher
        self._image = image
        self._service = service
        self._longest = longest
        self._server = server
        self._refused: set[str] = set()
        self._errors: list[FetchError] = []

    def fetch(self, sizes: StatedSizes | None) -> FetchedImage:
        """Fetch the image by the size that the manifest states, or else by ``info.json``."""
        stated = (self._measure_single(sizes) or sizes.describe(self._image)) if sizes else None
        if not (stated and sizes) or needs_info(stated, self._want(stated)) or self._server.lacks_info(self._service):
            return self._fetch_by(self._fetch_info())
        self._check_height(stated)
        requests = self._list_requests(stated)[:2]  # two ways to write the same size
        if all(map(self._server.refuses, requests)):
            return self._fetch_by(self._fetch_info() or stated)
        file = self._try(requests)
        if file and self._is_as_requested(file, stated):
            return self._finish(file, stated)
        info = self._fetch_info()
        if info and (info.width, info.height) == (stated.width, stated.height):
            if file and not is_other_image(file, self._image, info):
                return self._finish(file, info)
        elif info or file:
            sizes.distrust(self._image)
        return self._fetch_by(info)

    def _measure_single(self, sizes: StatedSizes) -> ImageInfo | None:
        """Return the description of the only image of a server, if the image has the stated height."""
        info = sizes.describe_single(self._image)
        if info and info.service.level > 0 and self._server.states_wrong_sizes is None:
            name = self._find_strip_name(info)
            if name and has_height(self._fetcher, info, name):
                self._server.states_wrong_sizes = False
                return info
        return None

    def _try(self, requests: list[ImageRequest]) -> ImageFile | None:
        """Fetch an image by its stated size. If the server rejects both forms, ``info.json`` states what it accepts."""
        try:
            return self._fetch_first(requests, None)
        except FetchError as error:
            if not error.is_refusal:
                raise
            return None

    def _is_as_requested(self, file: ImageFile, info: ImageInfo) -> bool:
        # Servers compute one side from the other, and round it in different ways. In a listed size, both are rounded.
        requested = choose_size(info, self._want(info), self._find_free_size())
        if is_turned(file, (info.width, info.height)):
            file = replace(file, width=file.height, height=file.width)
        is_expected = abs(file.width - requested[0]) <= 1 or file.width == info.width
        fits = file.size == requested or has_proportions(file, (info.width, info.height))
        return is_expected and fits

    def _fetch_by(self, info: ImageInfo | None) -> FetchedImage:
        """Fetch the image in any form that the service or its own URL allows."""
        if info and info.tiles and info.service.level == 0:
            return self._fetch_static(info)
        self._check_height(info)
        try:
            return self._finish(self._fetch_first(self._list_requests(info), info), info)
        except FetchError as error:
            if info and info.tiles and error.http_status == 404:
                # A folder of tiles may state a higher level than it has. Levels above 0 include the format jpg.
                tiled = replace(info, sizes=(), formats=("jpg",))
                with contextlib.suppress(FetchError):
                    data = fetch_static(self._fetcher, tiled, self._want(info), self._server)
                    return FetchedImage(data, info.width, info.height)
            raise

    def _fetch_static(self, info: ImageInfo) -> FetchedImage:
        """Fetch the image from a static service, or from its own URL."""
        try:
            data = fetch_static(self._fetcher, info, self._want(info), self._server)
            return FetchedImage(data, info.width, info.height)
        except FetchError as failure:
            if not self._image.url or self._image.is_reduced or failure.temporary:
                raise
            own = ImageRequest(self._image.url, max(info.width, info.height))
            with contextlib.suppress(FetchError):
                return self._finish(self._fetch_first([own], info), info)
            raise

    def _want(self, info: ImageInfo) -> int:
        return self._longest or max(info.width, info.height)

    def _check_height(self, info: ImageInfo | None) -> None:
        if info and not info.is_substitute and (name := self._find_strip_name(info)):
            check_height(self._fetcher, self._image, info, name, self._server)

    def _find_strip_name(self, info: ImageInfo) -> str:
        """Return the last part of the URL of a strip; "" if it is uncertain, or if the whole image is fetched."""
        names = list_names(self._service, self._image.url, info)
        is_reduced = self._longest and self._longest < max(info.width, info.height)
        return names[0] if is_reduced and len(names) == 1 else ""

    def _fetch_info(self) -> ImageInfo | None:
        # Images are often available even if info.json is not.
        with contextlib.suppress(FetchError):
            return fetch_info(self._fetcher, self._service, self._server)
        return None

    def _find_free_size(self) -> int | None:
        """Return the ``image_size`` of the host, or None if the wanted image is larger anyway."""
        rule = self._fetcher.rules.find(read_host(self._service.id))
        return None if rule.is_large(self._longest) else rule.image_size

    def _list_requests(self, info: ImageInfo | None) -> list[ImageRequest]:
        """Return equivalent requests for the image, the best first, with its own URL.

        Without an ``info.json``, the service may not exist. The own URL is then requested before the rarer forms.
        """
        size, names = read_stated(self._image, info), list_names(self._service, self._image.url, info)
        found = []
        if size:
            described = info or ImageInfo(self._service, *size)
            found = build_requests(described, self._longest or max(size), self._find_free_size(), names)
        if info is None:
            found += build_whole_requests(self._service, names, max(size) if size else None)
        elif size and info.service.id != self._service.id:
            original = replace(info, service=replace(info.service, id=self._service.id))
            for request in build_requests(original, self._longest or max(size), self._find_free_size(), names):
                found.append(replace(request, form=f"{request.form} with the stated ID"))
        url, place = self._image.url, len(found) if info else len(names)
        # A reduced image would be measured as the full one, and all boxes would be wrong.
        if url and not self._image.is_reduced and all(request.url != url for request in found):
            found.insert(place, ImageRequest(url, max(size) if size else None))
        return list({request.url: request for request in found}.values())

    def _fetch_first(self, requests: list[ImageRequest], info: ImageInfo | None) -> ImageFile:
        """Fetch the first request that succeeds, and record which forms the server supports.

        A service that returns a web page or another image refuses all its forms.

        Raises:
            FetchError: No request returned the image.
        """
        waiting = self._server.sort(request for request in requests if request.url not in self._refused)
        for _, group in itertools.groupby(waiting, _find_source):
            forms = list(group)
            try:
                file = self._fetcher.fetch_image(forms)
            except FetchError as error:
                if not error.is_refusal:
                    raise
                self._refuse(forms)
                self._errors.append(error)
                continue
            place = forms.index(file.request)
            self._refuse(forms[:place])
            if not is_other_image(file, self._image, info):
                self._server.working.add(file.request.form)
                return file
            self._refuse(forms[place:])
            self._errors.append(_build_misfit_error(file, read_stated(self._image, info)))
        raise self._errors[0]

    def _refuse(self, forms: Sequence[ImageRequest]) -> None:
        self._server.refuse(forms)
        self._refused.update(form.url for form in forms)

    def _finish(self, file: ImageFile, info: ImageInfo | None) -> FetchedImage:
        full = find_full_size(self._fetcher, self._image, info, file, self._server)
        return FetchedImage(file.data, full.width, full.height, full.note)


def _find_source(request: ImageRequest) -> str:
    """Return the service of a request, or "" for the image's own URL."""
    return request.form and request.url.rsplit("/", 4)[0]


def _build_misfit_error(file: ImageFile, size: Size | None) -> NotAnImage:
    expected = f" of {size[0]} x {size[1]} pixels" if size else ""
    return NotAnImage(
        f"{file.request.url} returned an image of {file.width} x {file.height} pixels instead of the page{expected}: "
        "check whether access to the page is restricted."
    )
