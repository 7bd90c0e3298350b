import random
from dataclasses import replace

import pytest

from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo
from app.iiif.image_requests import ImageRequest, build_requests, choose_size

BASE = "https://library.example/iiif/1"
INFO = ImageInfo(ImageService(BASE, 2, 1), 4000, 6000)


def list_requested_sizes(info: ImageInfo, longest: int) -> list[str]:
    return [request.url.removeprefix(f"{BASE}/full/").partition("/")[0] for request in build_requests(info, longest)]


@pytest.mark.parametrize(("version", "full_size", "quality"), [(1, "full", "native"), (2, "full", "default")])
def test_versions_1_and_2_use_their_keywords(version: int, full_size: str, quality: str) -> None:
    info = replace(INFO, service=ImageService(BASE, version, 1))
    assert build_requests(info, 6000)[0].url == f"{BASE}/full/{full_size}/0/{quality}.jpg"
    assert build_requests(info, 1500)[0].url == f"{BASE}/full/1000,/0/{quality}.jpg"


def test_version_3_uses_max_instead_of_full() -> None:
    info = replace(INFO, service=ImageService(BASE, 3, 2))
    assert build_requests(info, 6000)[0].url == f"{BASE}/full/max/0/default.jpg"
    assert list_requested_sizes(info, 1500) == ["1000,", "1000,1500", "max"]


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        ({"max_width": 1000}, (1000, 1500)),
        ({"max_height": 900}, (600, 900)),
        ({"max_area": 1_500_000}, (1000, 1500)),
        ({"max_width": 1000, "max_height": 900}, (600, 900)),
        ({"max_width": 9000}, (2000, 3000)),
    ],
)
def test_the_limits_of_the_server_are_respected(limits: dict[str, int], size: tuple[int, int]) -> None:
    assert choose_size(replace(INFO, **limits), 3000) == size  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "full", "size"),
    [
        ({"max_height": 30}, (100, 9000), (1, 30)),
        ({"max_area": 10}, (1000, 1), (10, 1)),
        ({"max_area": 10}, (1, 1000), (1, 10)),
        ({"max_width": 5, "max_area": 3}, (10**9, 10**9), (1, 1)),
    ],
)
def test_the_limits_are_respected_for_very_thin_images(
    limits: dict[str, int], full: tuple[int, int], size: tuple[int, int]
) -> None:
    info = replace(INFO, width=full[0], height=full[1], **limits)  # type: ignore[arg-type]
    assert choose_size(info, 10**9) == size


@pytest.mark.parametrize(("version", "full_size"), [(2, "max"), (3, "max")])
def test_the_last_request_respects_the_limits(version: int, full_size: str) -> None:
    info = replace(INFO, service=ImageService(BASE, version, 1), max_width=2000)
    assert list_requested_sizes(info, 9000) == ["2000,", "2000,3000", full_size]


def test_the_longer_side_is_as_long_as_wanted() -> None:
    chance = random.Random(1)
    for _ in range(300):
        width, height, longest = chance.randint(1, 9000), chance.randint(1, 60000), chance.randint(1, 3000)
        asked = choose_size(replace(INFO, width=width, height=height), longest)
        assert min(longest, max(width, height)) <= max(asked)
        assert asked[0] <= width
        assert asked[1] <= height


def test_no_limit_is_exceeded_by_rounding() -> None:
    chance = random.Random(2)
    for _ in range(300):
        limits = [chance.randint(1, 3000), chance.randint(1, 3000), chance.randint(100, 9_000_000)]
        info = ImageInfo(ImageService(BASE, 2, 1), chance.randint(100, 9000), chance.randint(100, 9000), (), *limits)
        width, height = choose_size(info, chance.randint(1, 5000))
        assert 1 <= width <= min(info.width, limits[0])
        assert 1 <= height <= min(info.height, limits[1])
        assert width * height <= limits[2]


@pytest.mark.parametrize("longest", [1, 640, 5999, 6000, 6001, 100_000])
def test_images_are_never_enlarged(longest: int) -> None:
    """Servers refuse it without ``^``: https://github.com/UniversalViewer/universalviewer/issues/1272"""
    assert max(choose_size(INFO, longest)) <= 6000
    listed = replace(INFO, sizes=((8000, 12000),))
    assert max(choose_size(listed, longest)) <= 6000
    assert max(choose_size(replace(listed, service=ImageService(BASE, 2, 0)), longest)) <= 6000


def test_a_preferred_size_is_used_if_it_is_close() -> None:
    info = replace(INFO, sizes=((250, 375), (1000, 1500), (2000, 3000)))
    assert choose_size(info, 1320) == (1000, 1500)
    assert choose_size(info, 900) == (600, 900)


@pytest.mark.parametrize(
    ("longest", "size"), [(300, (250, 375)), (1280, (1000, 1500)), (2000, (1000, 1500)), (3000, (1000, 1500))]
)
def test_level_0_gets_requests_for_listed_sizes_only(longest: int, size: tuple[int, int]) -> None:
    info = replace(INFO, service=ImageService(BASE, 2, 0), sizes=((250, 375), (1000, 1500)))
    assert choose_size(info, longest) == size


def test_level_0_without_sizes_is_asked_for_the_full_size_first() -> None:
    assert list_requested_sizes(replace(INFO, service=ImageService(BASE, 2, 0)), 1280)[0] == "full"
    assert list_requested_sizes(replace(INFO, service=ImageService(BASE, 3, 0)), 1280)[0] == "max"


@pytest.mark.parametrize(
    ("version", "asked"), [(2, ["full", "max", "100,", "100,150"]), (3, ["max", "100,150", "100,"])]
)
def test_level_0_prefers_the_full_size_to_sizes_that_are_too_small(version: int, asked: list[str]) -> None:
    info = replace(INFO, service=ImageService(BASE, version, 0), sizes=((50, 75), (100, 150)))
    assert list_requested_sizes(info, 1280) == asked
    assert list_requested_sizes(info, 300)[0] == asked[-2]


def test_level_0_of_version_3_uses_both_sides() -> None:
    info = replace(INFO, service=ImageService(BASE, 3, 0), sizes=((1000, 1500),))
    assert list_requested_sizes(info, 1280) == ["1000,1500", "1000,", "max"]
    assert list_requested_sizes(replace(info, service=ImageService(BASE, 2, 0)), 1280)[0] == "1000,"


def test_other_forms_follow_a_request_for_the_full_size() -> None:
    assert list_requested_sizes(INFO, 6000) == ["full", "max", "4000,", "4000,6000"]
    assert list_requested_sizes(replace(INFO, max_width=9000), 6000) == ["max", "4000,", "4000,6000"]


@pytest.mark.parametrize(
    ("full", "size"), [((2000, 3011), (664, 1000)), ((3011, 2000), (1000, 664)), ((2000, 3000), (666, 1000))]
)
def test_neither_side_is_longer_than_wanted(full: tuple[int, int], size: tuple[int, int]) -> None:
    assert choose_size(replace(INFO, width=full[0], height=full[1]), 1000) == size


def test_a_width_never_gives_a_height_that_is_too_long() -> None:
    chance = random.Random(4)
    for _ in range(300):
        full, longest = (chance.randint(1000, 9000), chance.randint(1000, 9000)), chance.randint(64, 1000)
        width, height = choose_size(replace(INFO, width=full[0], height=full[1]), longest)
        assert max(width, height) == longest
        assert full[1] * width <= full[0] * longest


def test_a_preferred_size_beyond_the_limit_is_not_used() -> None:
    info = replace(INFO, sizes=((400, 600), (760, 1140)))
    assert choose_size(info, 1000) == (760, 1140)
    assert choose_size(info, 1000, limit=1000) == (666, 1000)
    assert choose_size(info, 1000, limit=1140) == (760, 1140)


def test_level_0_exceeds_the_limit_only_if_other_sizes_are_too_small() -> None:
    info = replace(INFO, service=ImageService(BASE, 2, 0), sizes=((400, 600), (800, 1200)))
    assert choose_size(info, 1000) == (800, 1200)
    assert choose_size(info, 1000, limit=1000) == (400, 600)
    assert choose_size(replace(info, sizes=info.sizes[1:]), 1000, limit=1000) == (800, 1200)


def test_each_request_states_the_size_of_its_image() -> None:
    requests = build_requests(INFO, 900)
    assert requests == [
        ImageRequest(f"{BASE}/full/600,/0/default.jpg", 900),
        ImageRequest(f"{BASE}/full/600,900/0/default.jpg", 900),
        ImageRequest(f"{BASE}/full/full/0/default.jpg", 6000),
    ]
    assert [request.longest for request in build_requests(replace(INFO, max_width=2000), 900)] == [900, 900, 3000]
