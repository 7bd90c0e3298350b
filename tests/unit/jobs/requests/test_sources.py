"""The sources of documents in requests to compare: pages and crops."""

from typing import Any

import pytest

from app.errors import RequestError
from app.jobs.requests import SimilarityRequest, Source, read
from app.jobs.requests.crops import Crop

URL = "https://a.example/ms.zip"
JOB = "0123456789abcdef" * 2
CROP = {"canvas_number": 2, "xywh": [1, 2, 30, 40]}


def read_source(source: Any) -> Source:
    return read(SimilarityRequest, {"documents": {"a": source}}).documents["a"]


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        (CROP, Crop(xywh=(1, 2, 30, 40), canvas_number=2)),
        ({"image_name": "p1.jpg", "xywh": "1, 2,30,40"}, Crop(xywh=(1, 2, 30, 40), image_name="p1.jpg")),
        (CROP | {"name": "ornament", "odd": 1}, Crop(xywh=(1, 2, 30, 40), canvas_number=2, name="ornament")),
    ],
)
@pytest.mark.parametrize("place", [{"url": URL}, {"job_id": JOB}])
def test_crops_name_a_page_and_a_box(place: dict[str, str], crop: dict[str, Any], expected: Crop) -> None:
    assert read_source(place | {"crops": [crop]}).crops == (expected,)


def test_the_pages_of_a_job_are_images() -> None:
    assert read_source({"job_id": JOB, "pages": True}) == Source(job_id=JOB, pages=True)
    assert read_source({"job_id": JOB, "pages": False}) == Source(job_id=JOB)


@pytest.mark.parametrize("source", [{"url": URL, "crops": [CROP]}, {"job_id": JOB, "pages": True}, {"url": URL}])
def test_a_source_survives_the_database(source: dict[str, Any]) -> None:
    request = read(SimilarityRequest, {"documents": {"a": source}})
    stored = request.as_json()
    assert SimilarityRequest.from_json(stored) == request
    assert stored["documents"]["a"] == source


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"crops": 3}, "has crops that are not a list of objects"),
        ({"crops": [3]}, "has crops that are not a list of objects"),
        ({"crops": [{}]}, "has a crop without a valid xywh"),
        ({"crops": [{"canvas_number": 1}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": [1, 2, 3]}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": [1, 2, 0, 4]}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": [-1, 2, 3, 4]}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": [1, 2, 3.5, 4]}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": [1, 2, 3, 10**400]}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": [True, 2, 3, 4]}]}, "has a crop without a valid xywh"),
        ({"crops": [CROP | {"xywh": "٣,2,3,4"}]}, "has a crop without a valid xywh"),
        ({"crops": [{"xywh": [1, 2, 3, 4]}]}, "has a crop without its page"),
        ({"crops": [CROP | {"image_name": "p1.jpg"}]}, "has a crop without its page"),
        ({"crops": [CROP | {"canvas_number": "1"}]}, "has a crop without a valid canvas_number"),
        ({"crops": [CROP | {"canvas_number": -1}]}, "has a crop without a valid canvas_number"),
        ({"crops": [CROP | {"name": "../x"}]}, "has a crop with a name that is a path"),
        ({"crops": [CROP | {"name": "\ud800"}]}, "half|unpaired surrogate"),
        ({"crops": [CROP] * 20_001}, "send at most 20000"),
        ({"pages": True}, "has pages with url"),
        ({"pages": True, "crops": [CROP]}, "has both crops and pages"),
    ],
)
def test_an_invalid_part_of_a_document_is_named(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestError, match=f"^documents: 'a' .*({reason})"):
        read_source({"url": URL} | more)


def test_pages_must_be_true_or_false() -> None:
    with pytest.raises(RequestError, match=r"^documents: 'a' must be true or false"):
        read_source({"job_id": JOB, "pages": "yes"})


def test_illustrations_of_a_manifest_have_no_crops() -> None:
    with pytest.raises(RequestError, match="has crops with manifest_url; send it with url or job_id"):
        read_source({"manifest_url": "https://a.example/m", "crops": [CROP]})
