"""The start of tasks, their status, their cancellation and the deletion of results."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.auth import add_app
from app.jobs import State
from app.jobs.states import STAGES
from app.services import Services
from app.similarity.backbones import BACKBONES
from tests.integration.aikon.conftest import NOTIFY_URL, Post, build_document

REQUEST = {"experiment_id": "17", "notify_url": NOTIFY_URL, "model": "illustrations"}


def start(post: Post, *documents: dict[str, Any], task: str = "regions", **fields: Any) -> str:
    answer = post(f"/{task}/start", documents=[*documents], **(REQUEST | fields))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.json
    assert answer.json["experiment_id"] == str((REQUEST | fields)["experiment_id"])
    assert str(uuid.UUID(answer.json["tracking_id"])) == answer.json["tracking_id"]
    return str(answer.json["tracking_id"])


@pytest.mark.parametrize("task", ["regions", "region_extraction"])
def test_each_document_of_a_regions_task_has_a_detection_job(post: Post, services: Services, task: str) -> None:
    tracking_id = start(post, build_document("wit1_man2"), build_document("wit3_man4"), task=task, experiment_id=17)
    job = services.jobs.find(uuid.UUID(tracking_id).hex)
    parts = services.jobs.list_parts(job)
    assert (job.kind, job.state, job.total) == ("aikon", State.DONE, 2)
    assert {part.request["manifest_url"] for part in parts} == {
        f"https://front.example/{uid}/manifest.json" for uid in ("wit1_man2", "wit3_man4")
    }
    assert {(part.kind, part.state, part.request["model"]) for part in parts} == {
        ("detection", State.QUEUED, "illustrations.pt")
    }


def test_a_similarity_task_is_one_job(post: Post, services: Services) -> None:
    documents = [build_document("a", "url_list"), build_document("b", "url_list")]
    parameters = {"algorithm": "segswap", "feat_net": "resnet34", "cosine_n_filter": 7, "segswap_n": 3}
    for fields in (parameters, {"parameters": parameters}):
        tracking_id = start(post, *documents, task="similarity", skip_pairs=["b-a", "x-y"], **fields)
        job = services.jobs.find(uuid.UUID(tracking_id).hex)
        (part,) = services.jobs.list_parts(job)
        wanted = {"model": "resnet34", "topk": 3, "verify": 3, "transpositions": ["none"], "callback": ""}
        assert wanted.items() <= part.request.items()
        assert job.request["skip_pairs"] == [["a", "b"]]
        assert job.request["parameters"] == {
            "algorithm": "segswap",
            "topk": 7,
            "feat_net": "resnet34",
            "segswap_prefilter": True,
            "segswap_n": 3,
            "raw_transpositions": ["none"],
        }


def test_unknown_fields_and_empty_options_are_ignored(post: Post) -> None:
    start(post, build_document("a"), postprocess="", tracking_url="x", source_type="regions", crops=[])
    start(post, build_document("a"), parameters={"documents": [], "notify_url": "x", "postprocess": None})
    start(post, build_document("a", "url_list"), task="similarity", feat_layer="conv4", feat_net="resnet34.pt")


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        ("regions", {"documents": []}, "documents is empty"),
        ("regions", {"documents": "nothing"}, "documents is not JSON"),
        ("regions", {"documents": {"a": "b"}}, "documents must be a list"),
        ("regions", {"documents": [build_document("a")] * 2}, "two documents with the uid 'a'"),
        ("regions", {"documents": [{"type": "iiif", "uid": "a"}]}, "has no src in entry 1"),
        ("regions", {"documents": ["a"]}, "has no type in entry 1"),
        ("regions", {"documents": [build_document("a", "img")]}, "type 'img' in entry 1"),
        ("regions", {"documents": [build_document("a") | {"src": "file:///etc/passwd"}]}, "not a web address"),
        ("regions", {"documents": [build_document("../a")]}, "documents has the uid '../a', which is a path."),
        ("regions", {"documents": [build_document("a" * 300)]}, "longer than 200"),
        ("regions", {"documents": [build_document(f"{n}") for n in range(1001)]}, "send at most 1000"),
        ("regions", {"model": "nothing.pt"}, "'nothing.pt' is not among the weights"),
        ("regions", {"notify_url": "front"}, "notify_url is not a web address"),
        ("regions", {"notify_url": "http://10.9.9.9/notify"}, "notify_url: 10.9.9.9 has the private address"),
        ("regions", {"notify_url": "http://[fe80::1]:8000/"}, "notify_url: fe80::1 has the private address"),
        ("regions", {"postprocess": "sharpen"}, "postprocess is 'sharpen'"),
        ("regions", {"postprocess": {"h_margin": 1e9}}, "h_margin"),
        ("regions", {"postprocess": {"h_margin": 10**400}}, "h_margin"),
        ("regions", {"postprocess": {"v_margin": "wide"}}, "v_margin 'wide'"),
        ("regions", {"postprocess": {"squarify": "yes"}}, "squarify"),
        ("regions", {"dataset": "d1"}, "dataset is not supported"),
        ("regions", {"parameters": "{"}, "parameters is not JSON"),
        ("similarity", {"feat_net": "dinov9"}, "feat_net 'dinov9' is not on this server; send one of resnet34"),
        ("similarity", {"algorithm": "magic"}, "algorithm must be"),
        ("similarity", {"topk": 0}, "topk must be"),
        ("similarity", {"parameters": {"segswap_n": 10**30}}, "segswap_n must be"),
        ("similarity", {"segswap_prefilter": "perhaps"}, "segswap_prefilter must be true or false"),
        ("similarity", {"transpositions": ["sideways"]}, "transpositions"),
        ("similarity", {"skip_pairs": "a-b"}, "skip_pairs is not JSON"),
        ("similarity", {"skip_pairs": ["-" * 100_000]}, "longer than 401"),
        ("similarity", {"skip_pairs": [["a", "b"]]}, "must be text"),
        ("similarity", {"documents": [build_document(f"{n}", "url_list") for n in range(201)]}, "send at most 200"),
        (
            "similarity",
            {"documents": [build_document(uid, "url_list") for uid in ("a", "a-b", "b-c", "c")]},
            "give two pairs the same name",
        ),
    ],
)
def test_a_request_that_cannot_be_served_starts_nothing(
    post: Post, services: Services, task: str, fields: dict[str, Any], message: str
) -> None:
    kind = "url_list" if task == "similarity" else "iiif"
    answer = post(f"/{task}/start", **({"documents": [build_document("a", kind)]} | REQUEST | fields))
    assert (answer.status_code, message in answer.json["message"]) == (400, True), answer.json
    assert answer.json["error"] == answer.json["message"]
    assert services.jobs.count_unfinished() == 0


def test_a_form_with_json_texts_starts_a_task(client: FlaskClient, headers: dict[str, str]) -> None:
    documents = '[{"type": "url_list", "src": "https://front.example/m"}]'
    form = {"documents": documents, "parameters": '{"feat_net": "resnet34"}', "experiment_id": "17"}
    started = client.post("/similarity/start", data=form, headers=headers)
    job = client.get(f"/jobs/{uuid.UUID(started.json['tracking_id']).hex}", headers=headers).json
    assert (job["parameters"]["feat_net"], job["documents"][0]["uid"]) == ("resnet34", "https_front_example_m")


def test_the_status_follows_the_jobs(post: Post, get: Callable[[str], Any], services: Services) -> None:
    tracking_id = start(post, build_document("a"), build_document("b"))
    for spelled in (tracking_id, tracking_id.replace("-", ""), tracking_id.upper()):
        found = get(f"/region_extraction/{spelled}/status").json
        assert (found["tracking_id"], found["log"]["status"]) == (tracking_id, "PENDING")
    working = services.jobs.lease_next(STAGES[0])
    assert working
    services.jobs.record_progress(working, 3, 9, None)
    log = get(f"/regions/{tracking_id}/status").json["log"]
    assert (log["status"], log["infos"][1][1:]) == ("PROGRESS", ": downloading, 3 of 9.")
    services.jobs.release([working.leased_by or ""])
    for done, status in ((1, "PROGRESS"), (2, "SUCCESS")):
        run_next(services)
        log = get(f"/regions/{tracking_id}/status").json["log"]
        assert (log["status"], log["progress"]) == (status, {"done": done, "total": 2})


def run_next(services: Services) -> None:
    for stage in STAGES:
        job = services.jobs.lease_next(stage)
        assert job
        services.jobs.finish_stage(job, stage, 1.0)


@pytest.mark.parametrize("path", ["/regions/{}/cancel", "/{}/cancel", "/similarity/{}/cancel"])
def test_both_addresses_cancel_a_task_without_an_event(
    post: Post, get: Callable[[str], Any], services: Services, path: str
) -> None:
    tracking_id = start(post, build_document("a"), build_document("b"))
    services.jobs.lease_next(STAGES[0])
    answer = post(path.format(tracking_id))
    assert (answer.status_code, answer.json) == (200, {"tracking_id": tracking_id})
    assert post(path.format(tracking_id)).status_code == 200
    assert get(f"/regions/{tracking_id}/status").json["log"]["status"] == "CANCELLED"
    job = services.jobs.find(uuid.UUID(tracking_id).hex)
    assert {part.state for part in services.jobs.list_parts(job)} == {State.CANCELLED}
    assert [each.status for each in services.jobs.deliveries([job])[job.id]] == ["cancelled"]


@pytest.mark.parametrize("tracking_id", ["x", "0" * 32, "31efa73d-f7c3-4926-b9aa-202df80752f4", "é", "a" * 5000, "%00"])
def test_a_task_that_does_not_exist_is_404(post: Post, get: Callable[[str], Any], tracking_id: str) -> None:
    for answer in (post(f"/{tracking_id}/cancel"), get(f"/regions/{tracking_id}/status")):
        assert (answer.status_code, "error" in answer.json) == (404, True)


def test_tasks_and_results_of_another_client_app_are_404(post: Post, client: FlaskClient, services: Services) -> None:
    tracking_id = start(post, build_document("a"))
    run_next(services)
    (part,) = services.jobs.list_parts(services.jobs.find(uuid.UUID(tracking_id).hex))
    stranger = {"X-API-Key": add_app(services.database, "stranger")}
    paths = [f"/regions/{tracking_id}/status", f"/regions/results/illustrations+{part.id}.json"]
    assert {client.get(path, headers=stranger).status_code for path in paths} == {404}
    assert client.post(f"/{tracking_id}/cancel", headers=stranger).status_code == 404
    assert client.post("/regions/a/delete", headers=stranger).json["cleared_document"] == 0


@pytest.mark.parametrize("task", ["regions", "region_extraction"])
def test_the_regions_of_a_document_are_deleted(post: Post, services: Services, task: str) -> None:
    start(post, build_document("a"), build_document("b"))
    assert post(f"/{task}/a/delete").json["cleared_document"] == 0  # it is not done
    run_next(services)
    run_next(services)
    assert post(f"/{task}/a/delete?model_name=other").json["cleared_document"] == 0
    assert post(f"/{task}/a/delete?model_name=illustrations").json["cleared_document"] == 1
    assert post(f"/{task}/a/delete").json["cleared_document"] == 0
    assert post(f"/{task}/b/delete").json["cleared_document"] == 1
    assert post(f"/{task}/..%2Fb/delete").status_code in (400, 404)


def test_only_models_that_work_here_are_listed(get: Callable[[str], Any]) -> None:
    regions, similarity = get("/regions/models").json, get("/similarity/models").json
    for models in (regions, similarity):
        assert all({"name", "model", "desc"} <= model.keys() for model in models.values())
        assert all(name == model["model"] for name, model in models.items())
    assert regions.keys() == {"illustrations"}
    assert "clip_vitb32" in BACKBONES
    assert "clip_vitb32" not in similarity  # neither there nor published with a checksum
    assert "illustrations" in similarity
    assert all("segswap" in model["desc"] for model in similarity.values())


def test_a_task_is_shown_with_its_jobs(post: Post, client: FlaskClient, headers: dict[str, str]) -> None:
    tracking_id = start(post, build_document("a"), build_document("b"))
    job = client.get(f"/jobs/{uuid.UUID(tracking_id).hex}", headers=headers).json
    assert (job["kind"], job["task"], len(job["jobs"])) == ("aikon", "regions", 2)
    assert client.post(f"/jobs/{job['job_id']}/cancel", headers=headers).json["message"] == "2 jobs are cancelled."
