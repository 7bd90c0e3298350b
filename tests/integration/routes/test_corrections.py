import errno
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.auth import add_app
from app.detection.annotations import AnnotatedPage, PageStatus
from app.exports import FORMATS
from app.jobs.states import STAGES
from app.services import Services
from app.storage import write_atomic
from tests.support.archives import make_image
from tests.support.exported_results import INITIAL, SOURCE, WOODCUT, save_result

NEW = {"xywh": [10, 20, 30, 40], "class_name": "diagram"}
PAGES = [
    AnnotatedPage(1, "", "1.jpg", 1000, 800, PageStatus.DETECTED, (WOODCUT, INITIAL)),
    AnnotatedPage(2, "", "2.jpg", None, None, PageStatus.FAILED, reason="It is gone."),
    AnnotatedPage(3, "", "3.jpg", 1000, 800, PageStatus.FAILED, reason="The memory is full."),
    *(AnnotatedPage(number, "", f"{number}.jpg", 1000, 800, PageStatus.EMPTY) for number in range(4, 13)),
]


@pytest.fixture
def waiting(client: FlaskClient, headers: dict[str, str]) -> str:
    """A detection job in state queued."""
    job_id: str = client.post("/run_detect", headers=headers, data={"manifest_url": SOURCE}).json["job_id"]
    return job_id


@pytest.fixture
def done(services: Services, waiting: str) -> str:
    """A detection job in state done. All pages but 2 and 3 have a cached image; that of page 4 is a GIF."""
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    folder = services.storage.job(waiting)
    save_result(folder, PAGES, None)
    for page in PAGES:
        folder.pages.save({page.number: {"number": page.number, "file": f"{page.number}.image"}})
        if page.number not in (2, 3):
            image = make_image("GIF" if page.number == 4 else "JPEG", (100, 80))
            write_atomic(services.storage.images(SOURCE) / f"{page.number}.image", image)
    return waiting


class Corrector:
    """A client app that corrects the pages of a job."""

    def __init__(self, client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
        self._client, self._headers, self.job_id = client, headers, job_id

    def put(self, number: Any, boxes: Any, **fields: Any) -> TestResponse:
        json = {"boxes": boxes, **fields}
        return self._client.put(f"/jobs/{self.job_id}/corrections/{number}", headers=self._headers, json=json)

    def get(self, path: str) -> TestResponse:
        return self._client.get(f"/jobs/{self.job_id}/{path}", headers=self._headers)

    def delete(self, number: int) -> TestResponse:
        return self._client.delete(f"/jobs/{self.job_id}/corrections/{number}", headers=self._headers)

    def make_dataset(self, name: str = "corrected") -> TestResponse:
        return self._client.post(f"/jobs/{self.job_id}/dataset", headers=self._headers, data={"name": name})


@pytest.fixture
def corrector(client: FlaskClient, headers: dict[str, str], done: str) -> Corrector:
    return Corrector(client, headers, done)


def test_a_correction_is_kept_with_who_and_when(corrector: Corrector) -> None:
    answer = corrector.put(1, [NEW, {"xywh": [0, 0, 1000, 800]}], by=" Ada ")
    assert (answer.status_code, answer.json["message"]) == (
        200,
        "The correction of page 1 is saved: it has 2 illustrations.",
    )
    (page,) = corrector.get("corrections").json["corrections"]
    assert page == answer.json["correction"]
    assert (page["number"], page["by"], page["at"][-1]) == (1, "Ada", "Z")
    assert page["boxes"] == [NEW, {"xywh": [0, 0, 1000, 800], "class_name": "illustration"}]


def test_the_latest_correction_counts_and_may_be_empty(corrector: Corrector) -> None:
    corrector.put(1, [NEW])
    corrector.put(1, [])
    (page,) = corrector.get("corrections").json["corrections"]
    assert (page["boxes"], page["by"]) == ([], "front")


def test_a_removed_correction_brings_the_detections_back(corrector: Corrector) -> None:
    corrector.put(1, [NEW])
    assert corrector.delete(1).json["message"] == "Page 1 has its detections again."
    assert corrector.get("corrections").json["corrections"] == []
    assert corrector.delete(1).status_code == 404
    assert corrector.get("annotations?corrected=true").data == corrector.get("annotations").data


def test_a_full_disk_refuses_a_correction_and_its_removal(
    corrector: Corrector, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrector.put(1, [NEW])

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("app.storage.record_file.os.fsync", fail)
        for answer in (corrector.put(4, []), corrector.delete(1)):
            assert (answer.status_code, answer.json["code"]) == (507, "no_space")


def test_a_form_has_the_boxes_as_json_text(client: FlaskClient, headers: dict[str, str], done: str) -> None:
    data = {"boxes": json.dumps([NEW])}
    assert client.put(f"/jobs/{done}/corrections/1", headers=headers, data=data).status_code == 200


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ("x", "boxes is not JSON"),
        ({}, "boxes must be a list of boxes"),
        (5, "boxes must be a list of boxes"),
        ([1], "in box 1"),
        ([NEW, {"xywh": [1, 2, 3]}], "in box 2"),
        ([{"xywh": [1, 2, 3, 4.0]}], "four whole numbers"),
        ([{"xywh": [True, 2, 3, 4]}], "four whole numbers"),
        ([{"xywh": "1234"}], "four whole numbers"),
        ([{"xywh": [0, 0, 1, 10]}], "box 1 has 1 x 10 pixels"),
        ([{"xywh": [0, 0, -5, 10]}], "box 1 has -5 x 10 pixels"),
        ([{"xywh": [-1, 0, 10, 10]}], "not inside of page 1, which has 1000 x 800 pixels"),
        ([{"xywh": [991, 0, 10, 10]}], "not inside of page 1"),
        ([{"xywh": [10**4000, 0, 10, 10]}], "not inside of page 1"),
        ([{"xywh": [0, 0, 10, 10], "class_name": ""}], "class_name in box 1, not ''"),
        ([{"xywh": [0, 0, 10, 10], "class_name": "a\nb"}], "class_name in box 1"),
        ([{"xywh": [0, 0, 10, 10], "class_name": "\ud800"}], "class_name in box 1"),
        ([{"xywh": [0, 0, 10, 10], "class_name": "x" * 101}], "class_name in box 1"),
        ([{"xywh": [0, 0, 10, 10], "class_name": None}], "class_name in box 1, not null"),
        ([NEW] * 1001, "boxes has 1001 entries; send at most 1000."),
        (None, "boxes is missing"),
    ],
)
def test_invalid_boxes_are_refused_by_name(corrector: Corrector, boxes: Any, message: str) -> None:
    answer = corrector.put(1, boxes)
    assert answer.status_code == 400
    assert answer.json["message"].startswith("boxes")
    assert message in answer.json["message"]
    assert corrector.get("corrections").json["corrections"] == []


@pytest.mark.parametrize("by", ["x" * 201, "a\nb", ["a"], {"a": 1}])
def test_an_invalid_name_of_a_person_is_refused(corrector: Corrector, by: Any) -> None:
    answer = corrector.put(1, [NEW], by=by)
    assert (answer.status_code, answer.json["message"][:2]) == (400, "by")


@pytest.mark.parametrize("number", ["0", "01", "13", "-1", "x", "¹", "9" * 40, "1.json"])
def test_a_page_that_does_not_exist_is_404(corrector: Corrector, number: str) -> None:
    answer = corrector.put(number, [NEW])
    assert (answer.status_code, "has no page" in answer.json["message"]) == (404, True)


def test_a_failed_page_needs_its_size_and_its_image(corrector: Corrector, services: Services) -> None:
    answer = corrector.put(2, [NEW])
    assert (answer.status_code, "has failed" in answer.json["message"]) == (400, True)
    assert corrector.put(3, [NEW]).status_code == 404
    write_atomic(services.storage.images(SOURCE) / "3.image", make_image("JPEG", (100, 80)))
    assert corrector.put(3, [NEW]).status_code == 200
    canvases = corrector.get("annotations?format=json&corrected=true").json["canvases"]
    assert (canvases[2]["status"], "reason" in canvases[2]) == ("detected", False)


def test_only_finished_detections_can_be_corrected(client: FlaskClient, headers: dict[str, str], waiting: str) -> None:
    corrector = Corrector(client, headers, waiting)
    for answer in (corrector.put(1, [NEW]), corrector.get("corrections"), corrector.make_dataset()):
        assert (answer.status_code, "only the pages of a finished detection" in answer.json["message"]) == (400, True)
    documents = {"documents": {"a": "https://app.example/list"}}
    other = client.post("/run_similarity", headers=headers, json=documents).json["job_id"]
    assert Corrector(client, headers, other).put(1, [NEW]).status_code == 404


def test_jobs_of_other_client_apps_cannot_be_corrected(
    client: FlaskClient, services: Services, corrector: Corrector
) -> None:
    corrector.put(1, [NEW])
    stranger = Corrector(client, {"X-API-Key": add_app(services.database, "other")}, corrector.job_id)
    found = (stranger.get("corrections"), stranger.put(1, []), stranger.delete(1), stranger.make_dataset())
    assert [answer.status_code for answer in found] == [404] * 4
    assert corrector.get("corrections").json["corrections"][0]["boxes"] == [NEW]


def test_corrected_pages_replace_the_detections_in_an_export(corrector: Corrector) -> None:
    corrector.put(1, [NEW, {"xywh": [1, 2, 3, 4]}])
    corrector.put(4, [{"xywh": [5, 6, 7, 8], "class_name": "initial"}])
    text = corrector.get("annotations?corrected=true").text
    assert text.startswith("1 1.jpg\n10 20 30 40\n1 2 3 4\n4 4.jpg\n5 6 7 8\n5 5.jpg\n")
    first, *_, fourth = corrector.get("annotations?format=json&corrected=true").json["canvases"][:4]
    classes = [(box["class_name"], box["class_id"], box["confidence"]) for box in first["detections"]]
    # The classes of the detections keep their IDs as far as a box still has them; a new class follows.
    assert classes == [("diagram", 4, 1.0), ("illustration", 0, 1.0)]
    assert fourth["detections"][0]["class_id"] == 3
    assert "100 200 300 400" in corrector.get("annotations").text


def test_an_export_names_the_people_and_the_time_of_the_last_correction(corrector: Corrector) -> None:
    before = corrector.get("annotations?format=coco").json["info"]
    for number, name in ((1, "Grace"), (4, "Ada"), (5, "Ada")):
        corrector.put(number, [NEW], by=name)
    after = corrector.get("annotations?format=coco&corrected=true").json["info"]
    assert "corrected by Ada, Grace" in after["description"]
    assert after["date_created"] >= before["date_created"]
    assert corrector.get("annotations?format=coco").json["info"] == before


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_has_the_corrections(corrector: Corrector, format_name: str) -> None:
    path = f"annotations?format={format_name}"
    corrector.put(1, [NEW])
    assert corrector.get(f"{path}&corrected=true").status_code == 200
    assert corrector.get(f"{path}&corrected=true").data != corrector.get(path).data
    assert corrector.get(f"{path}&corrected=yes").status_code == 400


def correct_pages(corrector: Corrector, with_boxes: int, without: int) -> None:
    for number in range(4, 4 + with_boxes + without):
        corrector.put(number, [NEW, {"xywh": [500, 400, 500, 400]}] if number < 4 + with_boxes else [])


def test_corrected_pages_become_a_data_set_for_a_training(
    client: FlaskClient, headers: dict[str, str], services: Services, corrector: Corrector
) -> None:
    correct_pages(corrector, 7, 2)
    answer = corrector.make_dataset()
    assert answer.json["message"] == "The data set corrected has 7 images for train and 2 images for val."
    assert answer.json["dataset"]["classes"] == ["illustration", "diagram"]
    splits = answer.json["dataset"]["splits"]
    assert [splits[split]["empty"] for split in ("train", "val")] == [2, 0]
    found = services.datasets.find(1, "corrected")
    (image, label), *_ = found.list_pages("val")
    assert image.name == "0005.jpg"
    assert label.read_text() == "1 0.025000 0.050000 0.030000 0.050000\n0 0.750000 0.750000 0.500000 0.500000\n"
    assert sorted(path.name for path, _ in found.list_pages("train"))[0] == "0004.jpg"
    training = client.post("/train-model", headers=headers, data={"data": "corrected", "epochs": "3"})
    assert training.status_code == 200
    evaluation = client.post("/test-model", headers=headers, data={"dataset": "corrected", "split": "val"})
    assert evaluation.status_code == 200


@pytest.mark.parametrize(("with_boxes", "without", "gone"), [(0, 0, 0), (4, 0, 0), (1, 6, 0), (7, 0, 3)])
def test_too_few_corrected_pages_say_how_many_are_needed(
    corrector: Corrector, services: Services, with_boxes: int, without: int, gone: int
) -> None:
    correct_pages(corrector, with_boxes, without)
    for number in range(4, 4 + gone):
        (services.storage.images(SOURCE) / f"{number}.image").unlink()
    answer = corrector.make_dataset()
    assert answer.status_code == 400
    assert answer.json["message"].startswith("A data set needs at least 5 corrected pages, 2 of them with")
    assert f"the job has {with_boxes + without - gone}, {with_boxes - gone} of" in answer.json["message"]
    assert services.datasets.list(1) == []


def test_pages_without_an_image_are_left_out(corrector: Corrector, services: Services) -> None:
    correct_pages(corrector, 6, 0)
    (services.storage.images(SOURCE) / "4.image").unlink()
    message = corrector.make_dataset().json["message"]
    assert message.endswith("Corrected pages without their image in the cache: 1.")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x" * 101, "é"])
def test_a_data_set_needs_a_plain_name(corrector: Corrector, services: Services, name: str) -> None:
    correct_pages(corrector, 6, 0)
    assert corrector.make_dataset(name).status_code == 400
    assert services.datasets.list(1) == []
