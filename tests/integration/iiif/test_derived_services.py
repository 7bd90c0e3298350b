"""Image services that are derived from image URLs, and manifests, fetched over HTTP."""

import pytest

from app.errors import ManifestError
from app.iiif.fetch import Fetcher
from app.iiif.images import fetch_canvas_image
from tests.support.library import Answer, Library, Scan
from tests.support.manifests import image_of, parse_body, parse_manifest


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("info", [True, False])
def test_a_derived_service_reduces_the_image_if_it_has_an_info_json(
    library: Library, fetcher: Fetcher, version: int, info: bool
) -> None:
    url = Scan(version=version).build_url(library.offer(Scan(1200, 1600, version=version, info=info)))
    image = image_of(parse_body({"id": url, "type": "Image", "width": 999, "height": 999}))
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    requested = "/iiif/1/full/600,/0/" if info else url.removeprefix(library.url)
    assert len(library.paths) == 2
    assert library.paths[1].startswith(requested)


def test_a_fetched_manifest_is_parsed_and_an_html_page_is_refused(library: Library, fetcher: Fetcher) -> None:
    url = library.offer_manifest([Scan(), Scan()], version=2)
    assert len(parse_manifest(fetcher.fetch_document(url), url).canvases) == 2
    library.answer("/manifest.json", Answer(body="<html>sign in</html>"))
    with pytest.raises(ManifestError, match="HTML page"):
        parse_manifest(fetcher.fetch_document(url), url)
