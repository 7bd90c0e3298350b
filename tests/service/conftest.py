"""A running service for the tests of a file, and documents for it."""

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
    """A models folder whose default weights find nothing, and that at once."""
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "illustrations.pt", make_yolo())
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, small_models: Path) -> Iterator[Service]:
    """The service, for tests that do not mind what is detected."""
    with open_service(tmp_path_factory.mktemp("service"), models_folder=small_models) as service:
        yield service


@pytest.fixture(autouse=True)
def _clean_receiver(request: pytest.FixtureRequest) -> None:
    """Start each test with a client app that has received nothing, once the results of the last test have arrived."""
    if "service" in request.fixturenames:
        service = request.getfixturevalue("service")
        service.drain_outbox()
        service.receiver.received.clear()


@pytest.fixture(scope="module")
def sample() -> Iterator[str]:
    """The sample document; its manifest."""
    with serve(create_iiif_server(ROOT / "iiif" / "sample")) as url:
        yield f"{url}/manifest.json"


@pytest.fixture(scope="module")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Document]:
    """A document of a few small pages, which the service has fetched."""
    folder = tmp_path_factory.mktemp("document")
    for number in range(PAGES):
        Image.new("RGB", (300, 400), "white").save(folder / f"{number}.jpg")
    with serve(create_iiif_server(folder)) as library:
        url = f"{library}/manifest.json"
        job_id = service.detect(url)
        assert service.finish(job_id)["state"] == "done"
        service.wait_for_deliveries(job_id)
        yield Document(url, job_id)
