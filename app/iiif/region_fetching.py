"""Fetch a region of an image, at a sufficient size."""

from app.errors import FetchError
from app.iiif.fetch import Fetcher
from app.iiif.image_requests import Region
from app.iiif.images import FetchedImage
from app.iiif.known_servers import KnownServers


def fetch_region(fetcher: Fetcher, region: Region, shortest: int, servers: KnownServers) -> FetchedImage:
    """Fetch a region of an image at a sufficient size.

    Args:
        fetcher: HTTP client.
        region: Region to fetch.
        shortest: Required length of the shorter side, in pixels.
        servers: Facts about the servers that are known from earlier images.

    Raises:
        FetchError: No form of the request returned an image.
    """
    requests, server = region.build_requests(shortest), servers.find_regions(region.url)
    with server.visit():
        if renamed := region.rename():
            others = renamed.build_requests(shortest)
            requests += [other for other in others if not server.working or other.form in server.working]
        requests = server.sort(requests)
        try:
            file = fetcher.fetch_image_file(requests)
        except FetchError as error:
            if not error.temporary:
                server.refuse(requests)
            raise
        server.refuse(requests[: requests.index(file.request)])
        server.working.add(file.request.form)
    return FetchedImage(file.data, *file.size)
