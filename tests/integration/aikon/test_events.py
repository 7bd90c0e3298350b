"""The events of tasks, read as fronts read them, and the results that they name."""

import json
import threading
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.database.sessions import Database
from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.errors import ManifestError
from app.exports.annotation_files import describe_pages
from app.jobs import Jobs, State
from app.jobs.description import JobEvents
from app.jobs.requests import AikonDocument, AikonTask, DetectionRequest
from app.jobs.rows import build_ending, update_job
from app.jobs.states import STAGES
from app.services import Services
from app.storage import write_atomic
from tests.integration.aikon.conftest import NOTIFY_URL, Post, build_document
from tests.integration.aikon.test_start import start
from tests.support.aikon_front import hash_parameters, read_image, split_pair
from tests.support.comparison_results import save_result
from tests.support.postgresql import Server
from tests.support.recording_queue import RecordingQueue

BOX = BoxRecord((100, 200, 40, 20), 0.91, 0, "illustration")
PAGES = [
    AnnotatedPage(1, "", "wit1_man2_0001.jpg", 1000, 800, PageStatus.DETECTED, (BOX,)),
    AnnotatedPage(2, "", "wit1_man2_0002.jpg", 1000, 800, PageStatus.EMPTY),
    AnnotatedPage(3, "", "wit1_man2_0003.jpg", None, None, PageStatus.FAILED, reason="It is gone."),
]
COVERAGE = {"detected": 1, "empty": 1, "failed": [{"canvas_number": 3, "reason": "It is gone."}]}


def find_job(services: Services, tracking_id: str) -> Job:
    return services.jobs.find(uuid.UUID(tracking_id).hex)


def read_events(services: Services, tracking_id: str) -> list[dict[str, Any]]:
    """Return the events of a task that a front receives, in order."""
    job = find_job(services, tracking_id)
    deliveries = services.jobs.deliveries([job])[job.id]
    assert {each.url for each in deliveries} <= {NOTIFY_URL}
    events = [json.loads(each.body or "") for each in deliveries]
    for event in events:
        assert (event["tracking_id"], event["experiment_id"]) == (tracking_id, "17")
    return events


def name_events(services: Services, tracking_id: str) -> list[str]:
    return [event["event"] for event in read_events(services, tracking_id)]


def detect_next(services: Services, coverage: dict[str, Any] = COVERAGE) -> Job:
    """Run the next detection job, with the result of a worker."""
    job = services.jobs.lease_next(STAGES[0])
    assert job
    services.jobs.record_progress(job, 1, 3, None)
    services.jobs.finish_stage(job, STAGES[0], 1.0)
    for stage in STAGES[1:]:
        job = services.jobs.lease_next(stage)
        assert job
        services.jobs.record_progress(job, 3, 3, coverage)
        write_atomic(services.storage.job(job.id).annotations_json, json.dumps(describe_pages(PAGES)).encode())
        services.jobs.finish_stage(job, stage, 1.0)
    return job


def fail_next(services: Services) -> None:
    job = services.jobs.lease_next(STAGES[0])
    assert job
    services.jobs.fail(job, ManifestError("It is a cake."))


def pull(get: Any, url: str) -> Any:
    """Fetch a result as a front does."""
    parts = urlsplit(url)
    answer = get(parts.path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.json
    return answer.json


def test_a_task_reports_each_document_and_then_all(post: Post, get: Any, services: Services) -> None:
    tracking_id = start(post, *(build_document(uid) for uid in ("a", "b", "c")))
    assert read_events(services, tracking_id) == []
    detect_next(services)
    started, progress = read_events(services, tracking_id)
    assert (started["event"], progress["event"]) == ("STARTED", "PROGRESS")
    assert "output" not in started
    (result,) = progress["output"]["results_url"]
    detect_next(services)
    assert name_events(services, tracking_id) == ["STARTED", "PROGRESS", "PROGRESS"]
    detect_next(services)
    started, success = read_events(services, tracking_id)
    assert success["event"] == "SUCCESS"
    results = success["output"]["results_url"]
    assert result in results
    assert [each["doc_id"] for each in results] == ["a", "b", "c"]
    assert success["output"]["error"] == [
        f"{uid}: 1 page could not be processed. Page 3: It is gone." for uid in ("a", "b", "c")
    ]
    assert result["result_url"].startswith("http://localhost/regions/results/")
    assert result["result_url"].split("/")[-1].split("+")[0] == "illustrations"
    pages = pull(get, result["result_url"])
    assert [page["source"] for page in pages] == ["wit1_man2_0001.jpg", "wit1_man2_0002.jpg"]  # not the failed one
    assert {page["doc_uid"] for page in pages} == {result["doc_id"]}
    (crop,) = pages[0]["crops"]
    assert crop["absolute"] == {"x1": 100, "y1": 200, "x2": 140, "y2": 220, "width": 40, "height": 20}
    assert crop["relative"] == {"x1": 0.1, "y1": 0.25, "x2": 0.14, "y2": 0.275, "width": 0.04, "height": 0.025}
    assert (crop["bbox"], crop["source"], crop["confidence"]) == ("100,200,40,20", "wit1_man2_0001.jpg", 0.91)
    assert crop["crop_id"] == "wit1_man2_0001.jpg-100,200,40,20"
    assert pages[1]["crops"] == []


def test_the_boxes_of_a_result_are_postprocessed(post: Post, get: Any, services: Services) -> None:
    tracking_id = start(post, build_document("a"), postprocess={"squarify": True, "h_margin": 0.5, "v_margin": 0})
    detect_next(services, COVERAGE | {"failed": []})
    (*_, success) = read_events(services, tracking_id)
    assert "error" not in success["output"]
    (result,) = success["output"]["results_url"]
    (crop,) = pull(get, result["result_url"])[0]["crops"]
    assert crop["bbox"] == "80,190,80,40"


def test_documents_that_fail_are_named_beside_the_results(post: Post, services: Services) -> None:
    tracking_id = start(post, build_document("a"), build_document("b"))
    fail_next(services)
    assert name_events(services, tracking_id) == ["STARTED"]  # an output without results is an error in a front
    detect_next(services)
    (*_, success) = read_events(services, tracking_id)
    assert (success["event"], len(success["output"]["results_url"])) == ("SUCCESS", 1)
    assert any("It is a cake." in sentence for sentence in success["output"]["error"])
    assert success["message"] == "1 of 2 jobs are done."


def test_a_task_without_any_result_ends_with_an_error(post: Post, services: Services) -> None:
    tracking_id = start(post, build_document("a"), build_document("b"))
    for _ in range(2):
        fail_next(services)
    _, error = read_events(services, tracking_id)
    assert (error["event"], error["completed"]) == ("ERROR", True)
    assert error["error"].split("\n") == ["a: It is a cake.", "b: It is a cake."]
    assert error["error"] == error["message"]


def test_a_task_without_a_notify_url_sends_nothing(post: Post, services: Services) -> None:
    tracking_id = start(post, build_document("a"), notify_url="")
    detect_next(services)
    assert read_events(services, tracking_id) == []


def test_a_cancellation_by_the_operator_is_an_error_once(
    post: Post, services: Services, client: Any, headers: dict[str, str]
) -> None:
    tracking_id = start(post, *(build_document(f"{number}") for number in range(5)))
    client.post(f"/jobs/{find_job(services, tracking_id).id}/cancel", headers=headers)
    (error,) = read_events(services, tracking_id)
    assert (error["event"], error["error"].count("was cancelled")) == ("ERROR", 5)


def test_a_retry_of_a_part_reports_the_end_again(
    post: Post, services: Services, client: Any, headers: dict[str, str]
) -> None:
    tracking_id = start(post, build_document("a"))
    fail_next(services)
    job_id = find_job(services, tracking_id).id
    assert client.post(f"/jobs/{job_id}/retry", headers=headers).status_code == 200
    detect_next(services)
    assert name_events(services, tracking_id) == ["STARTED", "ERROR", "STARTED", "SUCCESS"]
    assert client.post(f"/jobs/{job_id}/redeliver", headers=headers).status_code == 200


def test_a_killed_worker_changes_nothing_in_the_events(post: Post, services: Services) -> None:
    tracking_id = start(post, build_document("a"))
    lost = services.jobs.lease_next(STAGES[0])
    assert lost
    services.jobs.release([lost.leased_by or ""])
    detect_next(services)
    assert name_events(services, tracking_id) == ["STARTED", "SUCCESS"]


def test_no_annotation_file_is_sent_to_the_client_app(post: Post, services: Services) -> None:
    from app.workers import detection_stages

    services.settings = services.settings.model_copy(update={"client_app_url": "https://app.example"})
    start(post, build_document("a"))
    job = detect_next(services)
    detection_stages.deliver(services, job)
    assert services.jobs.deliveries([job])[job.id] == []


def compare_next(services: Services, *doc_ids: str) -> Job:
    """Run the next similarity job, with the result of a worker."""
    failed = [{"image_name": "3", "reason": "It is gone."}]
    documents = [{"doc_id": each, "images": 3, "usable": 2, "failed": failed, "error": None} for each in doc_ids]
    lost = {"doc_id": "lost", "images": 0, "usable": 0, "failed": [], "error": "The list is gone."}
    for stage in STAGES:
        job = services.jobs.lease_next(stage)
        assert job
        services.jobs.record_progress(job, 3, 3, {"documents": [*documents, lost]})
        save_result(services.storage.job(job.id), doc_ids)
        services.jobs.finish_stage(job, stage, 1.0)
    return job


def compare(post: Post, services: Services, *doc_ids: str, **fields: Any) -> dict[str, Any]:
    """Compare documents; return the event of the end."""
    documents = [build_document(uid, "url_list") for uid in (*doc_ids, "lost")]
    tracking_id = start(post, *documents, task="similarity", **fields)
    compare_next(services, *doc_ids)
    started, success = read_events(services, tracking_id)
    assert (started["event"], success["event"]) == ("STARTED", "SUCCESS")
    return success


@pytest.mark.parametrize("as_text", [False, True])
def test_a_front_finds_the_scores_of_each_pair_by_its_hash(
    post: Post, get: Any, services: Services, as_text: bool
) -> None:
    success = compare(post, services, "wit1_man1", "wit2_man2", cosine_n_filter=20)
    pairs = {}
    for result in success["output"]["results_url"]:
        pair = "-".join(result["doc_pair"]) if as_text else result["doc_pair"]
        pairs[split_pair(pair)] = pull(get, result["result_url"])
    assert sorted(pairs) == [("wit1_man1",) * 2, ("wit1_man1", "wit2_man2"), ("wit2_man2",) * 2]
    scores = pairs["wit1_man1", "wit2_man2"]
    expected = {
        "algorithm": "cosine",
        "topk": 20,
        "feat_net": "dino_deitsmall16_pretrain",
        "segswap_prefilter": True,
        "segswap_n": 10,
        "raw_transpositions": ["none"],
    }
    assert hash_parameters(scores["parameters"]) == hash_parameters(expected)
    images = [read_image(image) for image in scores["index"]["images"]]
    assert images == ["wit1_man1_1.jpg", "wit1_man1_2.jpg", "wit2_man2_1.jpg", "wit2_man2_2.jpg"]
    assert scores["pairs"] == [[0, 3, 0.9, 1, 0], [1, 2, 0.5, 0, 0]]
    assert scores["index"]["sources"].keys() == {"wit1_man1", "wit2_man2"}
    assert scores["index"]["sources"]["wit1_man1"] == build_document("wit1_man1", "url_list")
    assert success["output"]["error"] == [
        "wit1_man1: 1 image could not be compared. 3: It is gone.",
        "wit2_man2: 1 image could not be compared. 3: It is gone.",
        "lost: The list is gone.",
    ]
    own = pairs["wit1_man1", "wit1_man1"]
    assert (len(own["index"]["images"]), [pair[:3] for pair in own["pairs"]]) == (2, [[0, 1, 0.9]])


def test_segswap_scores_are_those_of_the_verification(post: Post, get: Any, services: Services) -> None:
    success = compare(post, services, "a", "b", algorithm="segswap")
    (url,) = [each["result_url"] for each in success["output"]["results_url"] if each["doc_pair"] == ["a", "b"]]
    scores = pull(get, url)
    assert scores["parameters"]["algorithm"] == "segswap"
    assert [pair[:3] for pair in scores["pairs"]] == [[0, 3, 0.98767]]  # the other pair is not verified


def test_pairs_that_a_front_has_are_not_reported(post: Post, services: Services) -> None:
    success = compare(post, services, "a", "b", skip_pairs=["a-a", "b-a"])
    assert [each["doc_pair"] for each in success["output"]["results_url"]] == [["b", "b"]]


def test_a_comparison_with_nothing_to_report_succeeds_without_output(post: Post, services: Services) -> None:
    success = compare(post, services, "a", skip_pairs=["a-a"])
    assert success["output"] == {}  # with an empty list of results, a front would end with an error


def test_deleted_scores_are_404(post: Post, get: Any, services: Services) -> None:
    success = compare(post, services, "a", "b")
    job = services.jobs.list_recent(1)[0]
    part = job if job.parent_id else services.jobs.list_parts(job)[0]
    services.documents.record(part, {"a": "x", "b": "y", "lost": "z"})
    assert post("/similarity/a/delete?algorithm=cosine&feat_net=x").json["cleared_document"] == 1
    for each in success["output"]["results_url"]:
        status = get(urlsplit(each["result_url"]).path).status_code
        assert status == (404 if "a" in each["doc_pair"] else 200)


@pytest.mark.parametrize("name", ["x", "a+b.json", f"a-b+{'0' * 32}.json", f"+{'0' * 32}.json", "a" * 4000])
@pytest.mark.parametrize("task", ["regions", "similarity"])
def test_a_result_that_does_not_exist_is_404(get: Any, task: str, name: str) -> None:
    assert get(f"/{task}/results/{name}").status_code == 404


def test_documents_that_end_together_report_one_end(post: Post, services: Services) -> None:
    tracking_id = start(post, *(build_document(f"{number}") for number in range(100)))
    assert services.jobs.cancel(find_job(services, tracking_id)) == 100
    assert name_events(services, tracking_id) == ["ERROR"]


def test_an_event_belongs_to_the_transaction_of_its_change(post: Post, services: Services) -> None:
    tracking_id = start(post, build_document("a"))
    job = services.jobs.lease_next(STAGES[0])
    with services.database.session() as session:
        events = session.query(Delivery).all()
    assert (job and job.lease, [event.kind for event in events]) == (job and job.lease, ["job.started"])
    assert events[0].job_id == find_job(services, tracking_id).id


def test_a_query_finds_its_images_in_the_documents_of_an_index(post: Post, get: Any, services: Services) -> None:
    fields = {"feat_net": "resnet34", "transpositions": ["hflip"]}
    index_id = start(
        post, build_document("c", "url_list"), build_document("d", "url_list"), task="search/indexing", **fields
    )
    assert get(f"/search/indexing/{index_id}/result").status_code == 404
    compare_next(services, "c", "d")
    (*_, success) = read_events(services, index_id)
    (result,) = success["output"]["results_url"]
    index = pull(get, result["result_url"])
    assert (index["metadata"]["index_id"], index["metadata"]["feat_net"]) == (index_id, "resnet34")
    assert [image["doc_uid"] for image in index["index"]["images"]] == ["c", "c", "d", "d"]
    query_id = start(
        post, build_document("q", "url_list"), task="search/query", parameters={"index_id": index_id, "topk": 1}
    )
    compare_next(services, "q", "c", "d")
    (*_, success) = read_events(services, query_id)
    (result,) = success["output"]["results_url"]
    found = pull(get, result["result_url"])
    assert [image["uid"] for image in found["query"]["images"]] == ["1", "2"]
    assert sorted(found["pairs"]) == [[0, 1, 0.5, 0, 0], [1, 0, 0.9, 0, 1]]
    assert get(f"/search/query/{query_id}/status").json["log"]["status"] == "SUCCESS"


@pytest.mark.timeout(120)
def test_one_of_two_documents_that_end_at_the_same_time_is_the_last(postgresql: Server) -> None:
    database = Database(postgresql.create_database())
    database.upgrade()
    jobs = Jobs(database, RecordingQueue())
    documents = (AikonDocument("a", "iiif", "https://front.example/a"),)
    task = AikonTask("regions", "17", documents, NOTIFY_URL, "http://api", {})
    request = DetectionRequest(notify_url=NOTIFY_URL, manifest_url="https://front.example/a")
    job = jobs.submit_parts(1, task, {"a": request, "b": request})
    first, second = jobs.list_parts(job)
    with database.session() as session:
        update_job(session, first.id, Job.finished.is_(None), **build_ending(State.CANCELLED))
        JobEvents().enqueue(session, Kind.CANCELLED, first.id)
        other = threading.Thread(target=jobs.cancel, args=(second,))
        other.start()
        other.join(0.5)
        assert other.is_alive(), "it waits for the first document"
    other.join()
    events = [json.loads(each.body or "")["event"] for each in jobs.deliveries([job])[job.id]]
    database.close()
    assert events == ["ERROR"]
