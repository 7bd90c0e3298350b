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


@pytest.mark.parametrize("is_object", [True, False])
def test_the_source_of_a_part_is_fetched_from_its_service(library: Library, fetcher: Fetcher, is_object: bool) -> None:
    scan = Scan(1200, 1600, version=3)
    base = library.offer(scan)
    source = scan.build_service(base) if is_object else base
    selector = {"type": "ImageApiSelector", "region": "0,0,600,800"}
    image = image_of(parse_body({"type": "SpecificResource", "source": source, "selector": selector}))
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    assert library.paths[:2] == ["/iiif/1/info.json", "/iiif/1/full/600,/0/default.jpg"]


def test_an_image_id_with_a_media_fragment_is_fetched_whole(library: Library, fetcher: Fetcher) -> None:
    url = Scan().build_url(library.offer(Scan(1200, 1600)))
    image = image_of(parse_body({"id": f"{url}#xywh=0,0,600,800", "type": "Image"}))
    fetched = fetch_canvas_image(fetcher, image, 800)
    assert (fetched.full_width, fetched.full_height) == (1200, 1600)
    assert library.paths[:2] == ["/iiif/1/info.json", "/iiif/1/full/600,/0/default.jpg"]


def test_a_fetched_manifest_is_parsed_and_an_html_page_is_refused(library: Library, fetcher: Fetcher) -> None:
    url = library.offer_manifest([Scan(), Scan()], version=2)
    assert len(parse_manifest(fetcher.fetch_document(url), url).canvases) == 2
    library.answer("/manifest.json", Answer(body="<html>sign in</html>"))
    with pytest.raises(ManifestError, match="HTML page"):
        parse_manifest(fetcher.fetch_document(url), url)
