"""Fetch an image from a static service, and put its tiles together (see :mod:`app.iiif.tiles`)."""

import io
from collections.abc import Sequence

from PIL import Image

from app.errors import FetchError, NotAnImage
from app.iiif.fetch import WRONG_FORM, Fetcher, ImageFile
from app.iiif.image_info import ImageInfo
from app.iiif.image_requests import ImageRequest
from app.iiif.known_servers import KnownServer
from app.iiif.measured_sizes import has_proportions
from app.iiif.tiles import MOST_TILES, Form, Kind, Rendition, Tile, list_forms, list_renditions
from app.images.formats import encode_image
from app.images.pixels import decode_picture


def fetch_static(fetcher: Fetcher, info: ImageInfo, longest: int, server: KnownServer) -> bytes:
    """Fetch an image from a static service at about the wanted size. Return the image file.

    A tile that is missing fails the image: a page with a gap is never returned. Only if the first tile is missing, the
    next larger size is tried, because generators leave out sizes.

    Args:
        fetcher: HTTP client. Each tile is one request within the limits of the host.
        info: Content of ``info.json``, with tiles.
        longest: Wanted length of the longer side, in pixels.
        server: Facts about the server; the form of the tiles that are found is recorded there.

    Raises:
        FetchError: The image could not be fetched.
    """
    download = _Download(fetcher, info, server)
    failures: dict[Kind, FetchError] = {}
    for rendition in list_renditions(info, longest, fetcher.policy.max_image_pixels, server.has_whole):
        if rendition.kind is Kind.TILED and download.has_tiles:
            continue
        try:
            return download.fetch(rendition)
        except FetchError as error:
            if not _is_missing(error):
                raise
            server.has_whole &= rendition.kind is not Kind.WHOLE
            failures.setdefault(rendition.kind, error)
    if Kind.TILED in failures:
        raise failures[Kind.TILED]
    raise FetchError(
        f"{info.service.id} serves an image of this size only in more than {MOST_TILES} tiles: "
        "request a smaller image_size."
    )


def _is_missing(error: FetchError) -> bool:
    """Return whether a file is not there. Some web servers answer with a page of their site instead of a 404."""
    return error.http_status in WRONG_FORM or isinstance(error, NotAnImage)


class _Download:
    """The download of one image.

    Attributes:
        has_tiles: Whether a tile of an image was fetched.
    """

    def __init__(self, fetcher: Fetcher, info: ImageInfo, server: KnownServer) -> None:
        self._fetcher = fetcher
        self._info = info
        # The list is shared by all images of the server.
        kind = info.service.version, info.formats
        self._known_forms = server.tile_forms.setdefault(kind, list_forms(info))
        self.has_tiles = False
        self._refused: dict[str, FetchError] = {}

    def fetch(self, rendition: Rendition) -> bytes:
        """Fetch the files of a rendition. Return one image file."""
        limit, size, files = self._fetcher.policy.max_image_bytes, 0, []
        forms = [*self._known_forms]
        for tile in rendition.tiles:
            url, data = self._fetch_tile(rendition, tile, forms)
            self.has_tiles |= rendition.kind is Kind.TILED
            if rendition.kind is not Kind.WHOLE:
                forms = self._learn(tile, url)
            files.append(data)
            size += len(data)
            if size > limit:
                raise FetchError(
                    f"The tiles of {self._info.service.id} are larger than {limit / 1e6:.3g} MB in total: "
                    "request a smaller image_size."
                )
        if len(files) == 1:
            return files[0]
        with self._fetcher.decoders:
            return _join_tiles(self._info, rendition, files)

    def _learn(self, tile: Tile, url: str) -> list[Form]:
        """Put the forms of a URL first, for all images of the server. Return those for the other tiles of the image.

        The URLs of these tiles have the same extension and the same form of the size.
        """
        ordered = sorted(self._known_forms, key=lambda form: form.build_url(self._info, tile) != url)
        self._known_forms[:] = ordered
        style = ordered[0].extension, ordered[0].states_height
        return [form for form in ordered if (form.extension, form.states_height) == style]

    def _fetch_tile(self, rendition: Rendition, tile: Tile, forms: Sequence[Form]) -> tuple[str, bytes]:
        """Fetch the file of a tile in the first form that the server has."""
        urls = rendition.list_urls(self._info, tile, forms)
        for url in (url for url in urls if url not in self._refused):
            try:
                file = self._fetcher.fetch_image([ImageRequest(url, max(tile.sizes[0]))])
                if rendition.kind is Kind.TILED:
                    _check_size(file, tile.sizes[0])
                else:
                    self._check_whole(file, tile.sizes[0])
            except FetchError as error:
                if not _is_missing(error):
                    raise
                self._refused[url] = error
            else:
                return url, file.data
        failure = self._refused[urls[0]]
        if rendition.kind is not Kind.TILED or isinstance(failure, NotAnImage):
            raise failure
        message = f"A tile of {self._info.service.id} is missing: {failure.message}"
        raise FetchError(message, failure.http_status)

    def _check_whole(self, file: ImageFile, expected: Sequence[int]) -> None:
        """Refuse a file of the whole image with other proportions, such as a placeholder: its boxes would be wrong."""
        if not (_has_size(file, expected) or has_proportions(file, (self._info.width, self._info.height))):
            raise NotAnImage(_describe_misfit(file, expected))


def _check_size(file: ImageFile, expected: Sequence[int]) -> None:
    if not _has_size(file, expected):
        raise FetchError(_describe_misfit(file, expected))


def _has_size(file: ImageFile, expected: Sequence[int]) -> bool:
    return max(abs(file.width - expected[0]), abs(file.height - expected[1])) <= 1


def _describe_misfit(file: ImageFile, expected: Sequence[int]) -> str:
    found = f"{file.request.url} has {file.width} x {file.height} pixels"
    return f"{found} instead of {expected[0]} x {expected[1]}: it does not fit the info.json."


def _join_tiles(info: ImageInfo, rendition: Rendition, files: Sequence[bytes]) -> bytes:
    """Put tiles together. Return an image file that shows the whole image, with the proportions of the full size.

    Args:
        info: Description of the image.
        rendition: Rendition with the places of the tiles.
        files: Files of the tiles.
    """
    factor, size = rendition.factor, (rendition.width, rendition.height)
    joined, right, bottom = Image.new("RGB", size), 0, 0
    for tile, data in zip(rendition.tiles, files, strict=True):
        part, extent = decode_picture(io.BytesIO(data))[0], tile.sizes[0]
        left, top = tile.box[0] // factor, tile.box[1] // factor
        joined.paste(part if part.size == extent else part.resize(extent), (left, top))
        right, bottom = left + extent[0], top + extent[1]  # the last tile is in the corner
    # A rest of less than one pixel has no tile (see `tiles._split`): repeat the pixels next to it.
    joined.paste(joined.crop((right - 1, 0, right, size[1])), (size[0] - 1, 0))
    joined.paste(joined.crop((0, bottom - 1, size[0], bottom)), (0, size[1] - 1))
    if info.width % factor or info.height % factor:
        # The last column and row show less than one pixel of the tiles. The scale must be the same everywhere.
        joined = joined.resize(size, Image.Resampling.BILINEAR, (0, 0, info.width / factor, info.height / factor))
    return encode_image(joined)
