"""Settings and services in the stages of similarity jobs. ``test_similarity_jobs.py`` tests whole jobs."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.database.tables import Job
from app.errors import BackboneError, FetchError
from app.jobs.states import DOWNLOAD, RUN
from app.services import Services
from app.similarity import backbones
from app.similarity.backbones import Backbone
from app.workers import similarity_stages as similarity
from tests.support.comparing import draw
from tests.support.library import Answer, Library


@pytest.fixture
def settings(settings: Any) -> Any:
    return settings.model_copy(
        update={"trusted_hosts": ("127.0.0.1",), "host_interval_seconds": 0, "fetch_attempts": 1}
    )


def claim(services: Services, client: FlaskClient, headers: dict[str, str], documents: dict[str, str]) -> Job:
    client.post("/run_similarity", headers=headers, json={"documents": documents, "model": "resnet34"})
    job = services.jobs.lease_next(DOWNLOAD)
    assert job is not None
    return job


def offer(library: Library) -> str:
    image = library.answer("/1.png", Answer(body=draw(1)))
    return library.answer("/list.json", Answer(body={"x": image}))


def test_missing_published_weights_are_downloaded(
    services: Services,
    client: FlaskClient,
    headers: dict[str, str],
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = Backbone("resnet34", "torchvision:resnet34", library.answer("/weights.pth", Answer(404)), "md5:0")
    monkeypatch.setitem(backbones.BACKBONES, "resnet34", elsewhere)  # type: ignore[arg-type]
    job = claim(services, client, headers, {"a": offer(library)})
    similarity.download(services, job)
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    job = services.jobs.lease_next(RUN)  # type: ignore[assignment]
    with pytest.raises(BackboneError, match="resnet34"):
        similarity.run(services, job)
    assert library.paths[-1] == "/weights.pth"


def test_documents_are_recorded_before_the_download(
    services: Services, client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    url = library.answer("/gone.json", Answer(404))
    job = claim(services, client, headers, {"a": url})
    with pytest.raises(FetchError, match="None of the 1 documents"):
        similarity.download(services, job)
    answer = client.post("/delete_similarity", headers=headers, json={"documents": ["a"]}).json
    assert answer["in_use"] == ["a"]


def test_a_retry_records_the_source_that_it_found(
    services: Services, client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    job = claim(services, client, headers, {"a": offer(library)})
    for source in ("a detection job that is not done", "its illustrations"):
        services.documents.record(job, {"a": source})
    assert [row.source for row in services.documents.list_for_job(job)] == ["its illustrations"]


def test_the_images_of_a_waiting_comparison_are_in_use(
    services: Services, client: FlaskClient, headers: dict[str, str], library: Library
) -> None:
    url = offer(library)
    services.documents.record(claim(services, client, headers, {"a": url}), {"a": f"{url} illustrations"})
    assert {url, f"{url} illustrations"} <= services.list_origins_in_use()
