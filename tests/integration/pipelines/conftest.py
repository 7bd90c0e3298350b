"""A document of drawn pages, served over IIIF on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.iiif.fetch import Fetcher, FetchPolicy
from app.iiif.host_limits import HostLimits
from app.iiif.hosts import HostRule, HostRules
from app.net.addresses import AddressGuard

SIZES = [(1800, 2400), (1800, 2400), (2000, 1500), (900, 1200)]
BOXES = [(300, 400, 900, 1600), None, (100, 100, 1900, 700), (10, 20, 890, 1190)]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """Four pages. All except the second show one black rectangle, at BOXES in pixels (``x1 y1 x2 y2``)."""
    folder = tmp_path / "document"
    folder.mkdir()
    for number, (size, box) in enumerate(zip(SIZES, BOXES, strict=True), 1):
        page = Image.new("RGB", size, "white")
        if box:
            ImageDraw.Draw(page).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="black")
        page.save(folder / f"ms_{number:04d}.jpg", quality=95)
    return folder


@pytest.fixture
def library(document: Path) -> Iterator[str]:
    with serve(create_iiif_server(document)) as url:
        yield url


def build_fetcher(timeout: float = 5) -> Fetcher:
    policy = FetchPolicy(attempts=2, timeout=timeout, deadline=2 * timeout, backoff=0.01)
    return Fetcher(policy, HostLimits(HostRules(HostRule(4, 0))), AddressGuard(frozenset({"127.0.0.1", "localhost"})))


@pytest.fixture
def fetcher() -> Fetcher:
    return build_fetcher()
