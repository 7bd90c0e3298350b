import pytest

from app.iiif.image_api import ImageService, build_region_url
from app.iiif.image_requests import parse_region

BASE = "https://a.example/iiif/2/ms%2F1.jpg"


@pytest.mark.parametrize(
    ("size", "forms"),
    [
        ((3000, 1500), ["560,", "560,280"]),
        ((1500, 3000), ["280,", "280,560"]),
        ((3000, 281), ["2990,", "2990,280"]),
        ((1000, 999), ["281,", "281,280"]),
        ((280, 5000), []),
        ((100, 100), []),
    ],
)
def test_a_region_is_requested_at_the_smallest_sufficient_size(size: tuple[int, int], forms: list[str]) -> None:
    url = f"{BASE}/10,20,{size[0]},{size[1]}/full/0/default.jpg"
    region = parse_region(url)
    assert region is not None
    requests = region.build_requests(280)
    start = f"{BASE}/10,20,{size[0]},{size[1]}"
    assert [request.url for request in requests] == [*(f"{start}/{form}/0/default.jpg" for form in forms), url]
    assert requests[-1].longest == max(size)


@pytest.mark.parametrize(
    "request_path",
    [
        "full/full/0/default.jpg",
        "pct:10,20,30,40/full/0/default.jpg",
        "10,20,30,40/500,/0/default.jpg",
        "10,20,0,40/full/0/default.jpg",
        "10,20,30/full/0/default.jpg",
        "x.jpg",
    ],
)
def test_other_requests_are_not_parsed_as_a_region(request_path: str) -> None:
    assert parse_region(f"{BASE}/{request_path}") is None


@pytest.mark.parametrize(
    ("version", "end"), [(1, "full/0/native.jpg"), (2, "full/0/default.jpg"), (3, "max/0/default.jpg")]
)
def test_a_region_url_uses_the_keywords_of_the_version(version: int, end: str) -> None:
    url = build_region_url(ImageService(BASE, version, 1), (1, 2, 3, 4))
    assert url == f"{BASE}/1,2,3,4/{end}"
    region = parse_region(url)
    assert region is not None
    assert (region.width, region.height) == (3, 4)
