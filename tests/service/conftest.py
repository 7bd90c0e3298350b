"""Fixtures: a running service for each test file, and documents for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.config import ROOT
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from tests.support.service import PAGES, Document, Service, open_service
from tests.support.small_networks import make_yolo, save_checkpoint


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with tiny untrained default weights: detection is fast and finds nothing."""
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "illustrations.pt", make_yolo())
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, small_models: Path) -> Iterator[Service]:
    """A service with small models, for tests that do not depend on the detections."""
    with open_service(tmp_path_factory.mktemp("service"), models_folder=small_models) as service:
        yield service


@pytest.fixture(autouse=True)
def _clean_receiver(request: pytest.FixtureRequest) -> None:
    """Wait for the deliveries of the previous test, then clear what the client app has received."""
    if "service" in request.fixturenames:
        service = request.getfixturevalue("service")
        service.drain_outbox()
        service.receiver.received.clear()


@pytest.fixture(scope="module")
def sample() -> Iterator[str]:
    """The address of the sample document's manifest."""
    with serve(create_iiif_server(ROOT / "iiif" / "sample")) as url:
        yield f"{url}/manifest.json"


@pytest.fixture(scope="module")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Document]:
    """A document of a few small pages that the service has already fetched."""
    folder = tmp_path_factory.mktemp("document")
    for number in range(PAGES):
        Image.new("RGB", (300, 400), "white").save(folder / f"{number}.jpg")
    with serve(create_iiif_server(folder)) as library:
        url = f"{library}/manifest.json"
        job_id = service.detect(url)
        assert service.wait_until_finished(job_id)["state"] == "done"
        service.wait_for_deliveries(job_id)
        yield Document(url, job_id)
