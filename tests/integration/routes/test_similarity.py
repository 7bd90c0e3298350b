import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth import add_app
from app.database.tables import Job
from app.delivery.payloads import Destination
from app.delivery.result_parts import enqueue_parts
from app.jobs import State
from app.jobs.requests import DetectionRequest
from app.jobs.states import STAGES
from app.storage import Storage, write_atomic
from tests.support.comparison_results import save_result
from tests.support.rows import change_job

LIST = "https://app.example/list"
DOCUMENTS = {"b": f"{LIST}/b", "a": f"{LIST}/a", "ms-1": f"{LIST}/1"}
MANIFEST = "https://library.example/manifest.json"


def run(client: FlaskClient, headers: dict[str, str], documents: Any = DOCUMENTS, **fields: Any) -> Any:
    return client.post("/run_similarity", headers=headers, json={"documents": documents} | fields)


@pytest.fixture
def job_id(client: FlaskClient, headers: dict[str, str]) -> str:
    return run(client, headers, transpositions=["hflip"]).json["job_id"]


@pytest.fixture
def finished(app: Flask, job_id: str) -> str:
    """A similarity job in state done, with its result files."""
    finish(app, job_id)
    return job_id


def finish(app: Flask, job_id: str) -> None:
    services, store = app.extensions["services"], app.extensions["services"].jobs
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    if store.find(job_id).kind == "similarity":
        save_result(services.storage.job(job_id), list(store.find(job_id).request["documents"]))


def test_documents_are_queued(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    answer = run(client, headers, model="resnet34", callback="https://app.example/in", experiment_id="17", topk=5)
    assert (answer.status_code, answer.json["message"]) == (200, "3 documents are queued for comparison.")
    assert answer.json["status_url"].endswith(f"/jobs/{answer.json['job_id']}")
    job = app.extensions["services"].jobs.find(answer.json["job_id"])
    assert (job.kind, job.host, job.request["topk"]) == ("similarity", "app.example", 5)
    assert list(job.request["documents"]) == ["b", "a", "ms-1"]


@pytest.mark.parametrize("as_file", [False, True])
def test_documents_in_a_field_of_a_form_are_queued(client: FlaskClient, headers: dict[str, str], as_file: bool) -> None:
    long = {f"ms{number}": f"{LIST}/{'x' * 2500}/{number}" for number in range(200)}
    form: dict[str, Any] = {"documents": json.dumps(long), "topk": "3"}
    assert len(form["documents"]) > 500_000
    kind = "multipart/form-data" if as_file else "application/x-www-form-urlencoded"
    answer = client.post("/run_similarity", headers=headers, data=form, content_type=kind)
    assert (answer.status_code, answer.json["message"]) == (200, "200 documents are queued for comparison.")


def test_json_may_be_sent_without_a_content_type(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/run_similarity", headers=headers, data=json.dumps({"documents": DOCUMENTS}))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 1_000_000, "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "documents"),
        (b'{"documents": {}}', "documents is empty"),
        (b'{"documents": {"a": "https://a.example", "a": "https://a.example"}}', "two documents with the ID 'a'"),
        (b'{"documents": {"a": "https://a.example"}, "topk": 1, "topk": 2}', "'topk' twice"),
        (b'{"documents": {"../a": "https://a.example"}}', "is a path"),
        (b'{"documents": {"a": "https://a.example"}, "model": "odd"}', "moco_v2_800ep_pretrain"),
        (b'{"documents": {"a": "https://a.example"}, "topk": %s}' % (b"9" * 5000), "not JSON"),
    ],
)
def test_an_invalid_body_is_400(
    app: Flask, client: FlaskClient, headers: dict[str, str], body: bytes, said: str
) -> None:
    answer = client.post("/run_similarity", headers=headers, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert said in answer.json["message"]
    assert client.get("/jobs", headers=headers).json == {"jobs": []}


def test_a_body_that_is_too_large_is_413(client: FlaskClient, headers: dict[str, str]) -> None:
    assert run(client, headers, experiment_id="x" * 17_000_000).status_code == 413


def test_a_finished_detection_job_is_a_source_of_images(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    detection = client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json["job_id"]
    sources = {"job": {"job_id": detection}, "manifest": {"manifest_url": MANIFEST}}
    early = run(client, headers, {"x": sources["job"]})
    assert (early.status_code, "'x'" in early.json["message"], "queued" in early.json["message"]) == (400, True, True)
    assert run(client, headers, {"x": sources["manifest"]}).status_code == 400
    finish(app, detection)
    assert run(client, headers, sources).status_code == 200
    stranger = {"X-API-Key": add_app(app.extensions["services"].database, "stranger")}
    absent = run(client, stranger, {"x": {"job_id": "0" * 32}})
    for source in sources.values():
        answer = run(client, stranger, {"x": source})
        assert answer.status_code == 400
        assert answer.json["message"].replace(detection, "0" * 32) in (
            absent.json["message"],
            "documents: 'x' names a manifest for which you have no finished detection job: send the manifest first.",
        )


def test_a_similarity_job_is_not_a_source_of_images(
    client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    answer = run(client, headers, {"x": {"job_id": finished}})
    assert (answer.status_code, "is a similarity" in answer.json["message"]) == (400, True)


def test_a_job_shows_its_documents(client: FlaskClient, headers: dict[str, str], job_id: str) -> None:
    job = client.get(f"/jobs/{job_id}", headers=headers).json
    assert (job["kind"], job["state"]) == ("similarity", "queued")
    assert job["documents"] == {doc_id: {"url": url} for doc_id, url in DOCUMENTS.items()}
    assert (job["model"], job["topk"]) == ("moco_v2_800ep_pretrain", 20)
    assert (job["transpositions"], job["pooling"]) == (["none", "hflip"], None)
    assert job["coverage"] == {"documents": []}
    assert job["deliveries"] == []
    assert "manifest_url" not in job
    (listed,) = client.get("/jobs", headers=headers).json["jobs"]
    assert listed.pop("deliveries_by_status") == {}
    assert listed == {key: value for key, value in job.items() if key != "deliveries"}


def test_a_job_lists_its_deliveries_and_the_list_of_jobs_counts_them(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    with app.extensions["services"].database.session() as session:
        to = Destination("https://app.example/similarity", "https://app.example/similarity")
        enqueue_parts(session, session.get(Job, finished), to, {"a-a": "1", "a-b": "2"})
    job = client.get(f"/jobs/{finished}", headers=headers).json
    assert {each["part"] for each in job["deliveries"]} == {"a-a", "a-b"}
    (listed,) = client.get("/jobs", headers=headers).json["jobs"]
    assert listed["deliveries_by_status"] == {"pending": 2}
    assert client.post(f"/jobs/{finished}/redeliver", headers=headers).status_code == 200


@pytest.mark.parametrize("name", ["a-b", "b-a"])
def test_scores_are_returned_for_either_order_of_the_ids(
    client: FlaskClient, headers: dict[str, str], finished: str, name: str
) -> None:
    answer = client.get(f"/jobs/{finished}/scores/{name}", headers=headers)
    assert answer.mimetype == "application/octet-stream"
    rows = np.load(io.BytesIO(answer.data), allow_pickle=False)
    assert rows.tolist() == [["0.9", "1", "2"], ["0.5", "2", "1"]]
    as_json = client.get(f"/jobs/{finished}/scores/{name}?format=json", headers=headers).json
    assert (as_json["job_id"], as_json["documents"]) == (finished, ["a", "b"])
    assert as_json["pairs"][0] == {
        "score": 0.9,
        "transposition": "hflip",
        "image_1": {"name": "1", "url": "https://library.example/a/1"},
        "image_2": {"name": "2", "url": "https://library.example/b/2"},
        "verdict": "same",
        "probability": 0.9877,
        "inliers": 41,
        "region_1": [0, 0, 180, 100],
        "region_2": [20, 0, 180, 100],
        "transform": [-1.0, 0.0, 200.0, 0.0, 1.0, 0.0],
    }
    assert (as_json["total"], as_json["next"], as_json["pairs"][1]["verdict"]) == (2, None, None)


def test_scores_are_returned_as_csv(client: FlaskClient, headers: dict[str, str], finished: str) -> None:
    answer = client.get(f"/jobs/{finished}/scores/a-b?format=csv", headers=headers)
    assert answer.mimetype == "text/csv"
    best, other = csv.DictReader(io.StringIO(answer.text))
    assert [best[name] for name in ("document_1", "image_1", "score", "verdict")] == ["a", "1", "0.9", "same"]
    assert (best["region_2"], other["verdict"], other["region_2"]) == ("20,0,180,100", "", "")


def test_scores_are_sorted_and_filtered(client: FlaskClient, headers: dict[str, str], finished: str) -> None:
    def list_scores(query: str) -> list[float]:
        answer = client.get(f"/jobs/{finished}/scores/a-b?format=json&{query}", headers=headers)
        assert answer.status_code == 200, answer.json
        return [pair["score"] for pair in answer.json["pairs"]]

    assert list_scores("threshold=0.6") == [0.9]
    assert list_scores("sort=probability") == [0.9, 0.5]
    assert list_scores("sort=probability&threshold=0.99") == []
    assert list_scores("verdict=same") == [0.9]
    assert list_scores("verdict=copy%3F") == []


@pytest.mark.parametrize("form", ["json", "csv"])
def test_the_pages_of_scores_are_linked(client: FlaskClient, headers: dict[str, str], finished: str, form: str) -> None:
    path, pages = f"/jobs/{finished}/scores/a-b?format={form}&sort=probability&limit=1&endpoint=other", []
    while path:
        answer = client.get(path, headers=headers)
        pages.append(answer)
        path = answer.headers.get("Link", "").removeprefix("<").removesuffix('>; rel="next"')
    assert len(pages) == 2
    if form == "json":
        assert [page.json["total"] for page in pages] == [2, 2]
        assert [page.json["pairs"][0]["score"] for page in pages] == [0.9, 0.5]
        assert pages[1].json["next"] is None
        assert client.get(pages[0].json["next"], headers=headers).json == pages[1].json


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=1", "need format=json or format=csv"),
        ("format=npy&sort=probability", "need format=json or format=csv"),
        ("format=json&sort=name", "sort must be score or probability"),
        ("format=json&threshold=high", "threshold must be a number, not 'high'"),
        ("format=json&threshold=nan", "threshold must be a number"),
        ("format=json&verdict=maybe", "verdict must be same, part, copy? or none"),
        ("format=csv&limit=0", "limit must be a whole number from 1 to"),
        ("format=csv&offset=-1", "offset must be a whole number from 0 to"),
    ],
)
def test_an_invalid_query_of_scores_is_400(
    client: FlaskClient, headers: dict[str, str], finished: str, query: str, said: str
) -> None:
    answer = client.get(f"/jobs/{finished}/scores/a-b?{query}", headers=headers)
    assert (answer.status_code, said in answer.json["message"]) == (400, True), answer.json["message"]


def test_scores_of_a_job_that_is_not_verified_yet_have_no_verdicts(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    for path in app.extensions["services"].storage.job(finished).path.glob("scores/*.verified"):
        path.unlink()
    answer = client.get(f"/jobs/{finished}/scores/a-b?format=json", headers=headers)
    assert [pair["verdict"] for pair in answer.json["pairs"]] == [None, None]
    assert client.get(f"/jobs/{finished}/scores/a-b", headers=headers).status_code == 200


@pytest.mark.parametrize("name", ["ms-1-ms-1", "ms-1-a", "a-ms-1", "b-b"])
def test_pairs_of_ids_with_hyphens_are_found(
    client: FlaskClient, headers: dict[str, str], finished: str, name: str
) -> None:
    assert client.get(f"/jobs/{finished}/scores/{name}", headers=headers).status_code == 200


@pytest.mark.parametrize("name", ["a", "a-c", "-", "ms-1", "..", "a-b.npy", "%2e%2e%2f", "x" * 3000])
def test_an_unknown_pair_is_404(client: FlaskClient, headers: dict[str, str], finished: str, name: str) -> None:
    assert client.get(f"/jobs/{finished}/scores/{name}", headers=headers).status_code == 404


def test_scores_of_an_unfinished_job_are_400_and_missing_scores_404(
    app: Flask, client: FlaskClient, headers: dict[str, str], job_id: str
) -> None:
    early = client.get(f"/jobs/{job_id}/scores/a-b", headers=headers)
    assert (early.status_code, "ask again when it is done" in early.json["message"]) == (400, True)
    finish(app, job_id)
    app.extensions["services"].storage.job(job_id).document(1, ".compared").unlink()
    late = client.get(f"/jobs/{job_id}/scores/a-b", headers=headers)
    assert (late.status_code, "no scores of 'a' and 'b'" in late.json["message"]) == (404, True)
    assert client.get(f"/jobs/{job_id}/scores/a-a", headers=headers).status_code == 200


def test_the_error_names_the_result_that_a_kind_of_job_does_not_have(
    client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    detection = client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json["job_id"]
    scores = client.get(f"/jobs/{detection}/scores/a-b", headers=headers)
    assert (scores.status_code, "is a detection" in scores.json["message"]) == (404, True)
    annotations = client.get(f"/jobs/{finished}/annotations", headers=headers)
    assert (annotations.status_code, "no annotations" in annotations.json["message"]) == (400, True)
    assert client.get(f"/jobs/{finished}/scores/a-b?format=xml", headers=headers).status_code == 400


def test_scores_of_another_client_app_are_404(app: Flask, client: FlaskClient, finished: str) -> None:
    stranger = {"X-API-Key": add_app(app.extensions["services"].database, "stranger")}
    assert client.get(f"/jobs/{finished}/scores/a-b", headers=stranger).status_code == 404


def test_failed_images_are_retried(app: Flask, client: FlaskClient, headers: dict[str, str], finished: str) -> None:
    nothing = client.post(f"/jobs/{finished}/retry", headers=headers)
    assert (nothing.status_code, "no image that failed" in nothing.json["message"]) == (400, True)
    failed = [{"image_name": "x", "reason": "It is gone."}] * 2
    documents = [
        {"doc_id": "a", "images": 2, "usable": 0, "failed": failed, "error": "None of its 2 images …"},
        {"doc_id": "b", "images": 0, "usable": 0, "failed": [], "error": "It is not JSON."},
    ]
    change_job(app.extensions["services"].database, finished, coverage={"documents": documents})
    answer = client.post(f"/jobs/{finished}/retry", headers=headers)
    assert (answer.status_code, answer.json["message"]) == (200, "The 3 images that failed are tried again.")
    assert client.get(f"/jobs/{finished}/scores/a-b", headers=headers).status_code == 200


def add_files(storage: Storage, job_id: str, number: int, source: str, content: str) -> list[Path]:
    """Create the files of a document: cached images, embeddings, scores and job files."""
    paths = [
        storage.images(source) / "x.image",
        storage.embeddings / content / "key" / "none.npy",
        storage.scores / content / "other-key.scores",
        storage.scores / "other" / f"{content}-key.scores",
        storage.scores / "other" / f"{content}-key.verified",
        storage.job(job_id).document(number, ".jsonl"),
        storage.job(job_id).scores(number, 9, "key"),
        storage.job(job_id).verified(number, 9, "key"),
    ]
    for path in paths:
        write_atomic(path, b"x")
    return paths


def use(app: Flask, job_id: str, contents: dict[str, str]) -> dict[str, list[Path]]:
    """Record the sources and contents of a job's documents, and create their files."""
    documents, store = app.extensions["services"].documents, app.extensions["services"].jobs
    job = store.find(job_id)
    documents.record(job, {doc_id: source["url"] for doc_id, source in job.request["documents"].items()})
    for doc_id, content in contents.items():
        documents.record_content(job, doc_id, content)
    rows = {row.doc_id: row for row in documents.list_for_job(job)}
    return {
        doc_id: add_files(app.extensions["services"].storage, job_id, rows[doc_id].number, rows[doc_id].source, content)
        for doc_id, content in contents.items()
    }


def forget(client: FlaskClient, headers: dict[str, str], *doc_ids: str) -> Any:
    return client.post("/delete_similarity", headers=headers, json={"documents": doc_ids})


def test_forgetting_a_document_deletes_its_files(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    files = use(app, finished, {"a": "content a", "b": "content b"})
    answer = forget(client, headers, "a", "nobody")
    assert answer.status_code == 200
    assert answer.json == {
        "message": "1 document is forgotten.",
        "forgotten": ["a"],
        "in_use": [],
        "unknown": ["nobody"],
    }
    assert not any(path.exists() for path in files["a"])
    assert all(path.exists() for path in files["b"])
    statuses = [
        client.get(f"/jobs/{finished}/scores/{name}", headers=headers).status_code for name in ("a-a", "a-b", "b-b")
    ]
    assert statuses == [404, 404, 200]
    assert forget(client, headers, "a").json["unknown"] == ["a"]


def test_files_that_another_document_or_client_app_uses_are_kept(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    stranger = {"X-API-Key": add_app(app.extensions["services"].database, "stranger")}
    theirs = run(client, stranger, {"theirs": DOCUMENTS["a"]}).json["job_id"]
    finish(app, theirs)
    mine = use(app, finished, {"a": "shared", "b": "shared too", "ms-1": "shared too"})
    use(app, theirs, {"theirs": "shared"})
    assert forget(client, headers, "a", "b", "theirs").json["forgotten"] == ["a", "b"]
    images, *cached, outcomes, scores, verified = mine["a"]
    assert images.exists()
    assert all(path.exists() for path in cached)
    assert not any(path.exists() for path in (outcomes, scores, verified))
    images, *cached, outcomes, scores, verified = mine["b"]
    assert not images.exists()  # no other document uses the list of b, but another one has the same pixels
    assert all(path.exists() for path in cached)
    assert client.get(f"/jobs/{theirs}/scores/theirs-theirs", headers=stranger).status_code == 200


def test_a_document_of_an_unfinished_job_is_not_forgotten(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    files = use(app, finished, {"a": "content a", "b": "content b"})
    other = run(client, headers, {"a": DOCUMENTS["a"]}).json["job_id"]
    use(app, other, {"a": "content a"})
    answer = forget(client, headers, "a", "b")
    assert (answer.json["forgotten"], answer.json["in_use"]) == (["b"], ["a"])
    assert "cancel" in answer.json["message"]
    assert all(path.exists() for path in files["a"])
    client.post(f"/jobs/{other}/cancel", headers=headers)
    assert forget(client, headers, "a").json["forgotten"] == ["a"]
    assert app.extensions["services"].jobs.find(other).state == State.CANCELLED
    assert not any(path.exists() for path in files["a"])


@pytest.mark.parametrize("documents", [None, [], {}, "a", ["../a"], [1], "[]"])
def test_invalid_document_ids_are_400(client: FlaskClient, headers: dict[str, str], documents: Any) -> None:
    answer = client.post("/delete_similarity", headers=headers, json={"documents": documents})
    assert (answer.status_code, answer.json["message"].startswith("documents")) == (400, True)


@pytest.mark.parametrize("path", ["/run_similarity", "/search"])
def test_a_backbone_with_its_own_pooling_takes_no_other(
    client: FlaskClient, headers: dict[str, str], path: str
) -> None:
    body = {"model": "sscd_disc_mixup", "pooling": "gem", "documents": {"a": "https://app.example/list"}}
    body |= {"image_url": "https://app.example/a.jpg", "documents": ["a"]} if path == "/search" else {}
    answer = client.post(path, headers=headers, json=body)
    assert (answer.status_code, answer.json["message"].split(":")[0]) == (400, "pooling")


def test_the_pages_of_a_detection_job_are_kept(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    services = app.extensions["services"]
    stranger = add_app(services.database, "stranger")
    client.post("/run_detect", headers={"X-API-Key": stranger}, data={"manifest_url": DOCUMENTS["a"]})
    services.jobs.submit(1, [DetectionRequest("", file_name="b.zip", file_digest="0123")])
    job = services.jobs.find(finished)
    services.documents.record(job, {"b": "file 0123", "a": DOCUMENTS["a"], "ms-1": "unused"})
    rows = services.documents.list_for_job(job)
    paths = {row.doc_id: add_files(services.storage, finished, row.number, row.source, "x")[0] for row in rows}
    assert forget(client, headers, *paths).json["forgotten"] == [*paths]
    assert [paths[doc_id].exists() for doc_id in ("a", "b", "ms-1")] == [True, True, False]


def test_the_pages_of_crops_are_forgotten_with_them(
    app: Flask, client: FlaskClient, headers: dict[str, str], finished: str
) -> None:
    services = app.extensions["services"]
    services.documents.record(services.jobs.find(finished), {"a": "one crops", "b": "two crops", "ms-1": "two"})
    pages = [services.storage.images(origin) for origin in ("one crops", "one", "two crops", "two")]
    for folder in pages:
        folder.mkdir(parents=True)
    assert forget(client, headers, "a", "ms-1").json["forgotten"] == ["a", "ms-1"]
    assert [folder.exists() for folder in pages] == [False, False, True, True]  # the crops of "two" are cut from it
    forget(client, headers, "b")
    assert not any(folder.exists() for folder in pages)


def test_an_empty_list_of_crops_is_400(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = run(client, headers, {"a": {"url": DOCUMENTS["a"], "crops": []}})
    assert answer.status_code == 400
    assert "empty list of crops" in answer.json["message"]
