"""The cost of a download is estimated from the manifest and the limits of its hosts."""

import pytest

from app.iiif.canvas import Canvas, CanvasImage
from app.iiif.estimate import BYTES_PER_PIXEL, estimate_download
from app.iiif.hosts import HostRule, HostRules
from app.iiif.image_api import ImageService
from app.iiif.manifest import Manifest

RULES = HostRules(
    HostRule(4, 0.1),
    {"slow.example": HostRule(1, 0.1, image_size=1000, large_interval_seconds=12)},
    {"own:80"}.__contains__,
)


def make_image(number: int, host: str = "a.example", stated: bool = True, service: bool = True) -> CanvasImage:
    base = f"https://{host}/{number}"
    size = (3000, 4000) if stated else (None, None)
    return CanvasImage(f"{base}/full/full/0/default.jpg", *size, ImageService(base, 2, 1) if service else None)


def make_manifest(*images: CanvasImage | None) -> Manifest:
    canvases = [Canvas(number, "", (image,) if image else ()) for number, image in enumerate(images, 1)]
    return Manifest("https://a.example/manifest.json", "", tuple(canvases))


def test_stated_sizes_need_one_request_a_page_a_sample_and_a_strip() -> None:
    found = estimate_download(make_manifest(*map(make_image, range(100))), RULES, 800)
    assert (found.canvases, found.images, found.requests) == (100, 100, 105)
    assert found.bytes == round(100 * BYTES_PER_PIXEL * 600 * 800)
    assert found.seconds == pytest.approx(10.4)


def test_unknown_sizes_need_two_requests_a_page() -> None:
    found = estimate_download(make_manifest(*(make_image(number, stated=False) for number in range(10))), RULES, 800)
    assert found.requests == 22


def test_images_without_a_service_are_fetched_at_full_size() -> None:
    found = estimate_download(make_manifest(make_image(1, service=False)), RULES, 800)
    assert (found.requests, found.bytes) == (2, round(BYTES_PER_PIXEL * 3000 * 4000))


def test_canvases_without_an_image_and_repeated_images_cost_nothing() -> None:
    found = estimate_download(make_manifest(make_image(1), make_image(1), None), RULES, 800)
    assert (found.canvases, found.images) == (3, 1)


def test_hosts_are_used_at_the_same_time() -> None:
    both = [make_image(number, host) for host in ("a.example", "b.example") for number in range(50)]
    found = estimate_download(make_manifest(*both), RULES, 800)
    assert found.seconds == pytest.approx(5.4)


@pytest.mark.parametrize(("cap_to_host_size", "seconds"), [(True, 14 * 0.3), (False, 14 * 12)])
def test_large_images_wait_as_the_rule_of_the_host_says(cap_to_host_size: bool, seconds: float) -> None:
    images = [make_image(number, "slow.example") for number in range(10)]
    found = estimate_download(make_manifest(*images), RULES, 2000, cap_to_host_size)
    assert found.seconds == pytest.approx(seconds)
