"""Run similarity jobs end to end in real processes: from image lists at a library to score files at a client app."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import timm
import torch
import torchvision
from PIL import Image

from app.auth import remove_secret, renew_secret
from app.config import ROOT
from app.database.sessions import Database
from app.delivery.payloads import build_headers
from app.demo.client_app import Received
from tests.support.aikon_front import Front, hash_parameters
from tests.support.archives import make_zip
from tests.support.comparing import draw
from tests.support.library import Answer, Library, Scan
from tests.support.manual import import_client
from tests.support.service import Service, kill, open_service

MODEL = "resnet34"
QUICK = "timm:test_convnext.r160_in1k"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two backbones in their published formats, with random weights."""
    folder = tmp_path_factory.mktemp("similarity")
    backbones = folder / "models" / "backbones"
    backbones.mkdir(parents=True)
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet34().state_dict(), backbones / f"{MODEL}.pth")
    torch.save(
        timm.create_model(QUICK.removeprefix("timm:"), pretrained=False).state_dict(),
        backbones / f"{QUICK.replace(':', '-')}.pth",
    )
    (folder / "models" / "illustrations.pt").symlink_to(Path("models/illustrations.pt").absolute())
    front = {"aikon_networks": ("127.0.0.1",), "aikon_app": "front"}
    with open_service(folder / "data", models_folder=folder / "models", **front) as service:
        yield service


def offer(library: Library, doc_id: str, images: dict[str, bytes | Answer]) -> str:
    """Serve an image list and its images from a library.

    Args:
        library: Library that serves them.
        doc_id: ID of the document, used in the addresses.
        images: Content or answer of each image, by image name.

    Returns:
        The address of the list.
    """
    answers = {name: each if isinstance(each, Answer) else Answer(body=each) for name, each in images.items()}
    urls = {name: library.answer(f"/{doc_id}/{number}", each) for number, (name, each) in enumerate(answers.items())}
    return library.answer(f"/{doc_id}.json", Answer(body=urls))


def run(service: Service, documents: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Compare documents with a small network, and verify only the best match of each image."""
    return service.post("/run_similarity", json={"documents": documents, "model": QUICK, "verify": 1} | fields)


def read(received: Received) -> tuple[str, list[list[str]]]:
    """Return the name of the document pair that a message is about, and the rows of its score file."""
    ((name, (file_name, content)),) = received.files.items()
    assert file_name == f"{name}.npy"
    return name, np.load(io.BytesIO(content), allow_pickle=False).tolist()


def read_all(service: Service, count: int) -> dict[str, list[list[str]]]:
    """Wait for ``count`` score files, each of another pair; return their rows by pair."""
    received = service.wait_for_messages(count)
    found = dict(map(read, received))
    assert len(found) == len(received) == count
    return found


def test_a_comparison_delivers_the_scores_of_every_pair(service: Service, library: Library) -> None:
    secret = renew_secret(Database(service.settings.sqlalchemy_url), "front")
    images_a = {f"a{number}.jpg": draw(number, (90, 80)) for number in range(6)}
    images_b = {"twin": draw(2, (90, 80)), "other": draw(20), "mirrored": draw(4, (90, 80), mirrored=True)}
    documents = {"ms-2": offer(library, "b", images_b), "ms-1": offer(library, "a", images_a)}
    answer = run(service, documents, model=MODEL, transpositions=["none", "hflip"], experiment_id="17", verify=10)
    job = service.wait_until_finished(answer["job_id"])
    assert (job["state"], job["kind"], job["model"]) == ("done", "similarity", MODEL), job["error"]
    assert [(each["doc_id"], each["images"], each["usable"]) for each in job["coverage"]["documents"]] == [
        ("ms-2", 3, 3),
        ("ms-1", 6, 6),
    ]
    found = read_all(service, 3)
    assert set(found) == {"ms-1-ms-1", "ms-1-ms-2", "ms-2-ms-2"}
    rows = found["ms-1-ms-2"]
    assert {(one, two) for score, one, two in rows if float(score) > 0.99} == {
        ("a2.jpg", "twin"),
        ("a4.jpg", "mirrored"),
    }
    assert [float(row[0]) for row in rows] == sorted((float(row[0]) for row in rows), reverse=True)
    for received in service.receiver.received:
        assert received.path == "/similarity"
        assert received.fields == {"model": MODEL, "experiment_id": "17"}
        stamp = int(received.headers["Webhook-Timestamp"])
        signed = build_headers(received.headers["Webhook-Id"], received.body, stamp, secret)
        assert received.headers["Webhook-Signature"] == signed["webhook-signature"]
    deliveries = {each["part"]: each["id"] for each in service.wait_for_deliveries(job["job_id"])}
    assert deliveries == {read(each)[0]: each.headers["Webhook-Id"] for each in service.receiver.received}
    scores = f"{service.api}/jobs/{job['job_id']}/scores"
    file = requests.get(f"{scores}/ms-2-ms-1", headers=service.headers, timeout=5).content
    assert np.load(io.BytesIO(file)).tolist() == rows
    body = requests.get(f"{scores}/ms-1-ms-2?format=json", headers=service.headers, timeout=5).json()
    best = {(pair["image_1"]["name"], pair["transposition"]) for pair in body["pairs"][:2]}
    assert best == {("a2.jpg", "none"), ("a4.jpg", "hflip")}
    assert body["pairs"][0]["image_1"]["url"].startswith(library.url)
    (twin,) = [pair for pair in body["pairs"] if pair["image_2"]["name"] == "twin" and pair["verdict"] == "same"]
    assert (twin["image_1"]["name"], twin["probability"], twin["region_1"]) == ("a2.jpg", 1.0, [0, 0, 90, 80])
    assert {pair["verdict"] is None for pair in body["pairs"]} == {False}  # fewer than ten images: all are verified
    assert job["progress"]["done"] == job["progress"]["total"]
    remove_secret(Database(service.settings.sqlalchemy_url), "front")


def test_a_killed_comparison_resumes_and_delivers_every_pair_once(service: Service, library: Library) -> None:
    documents = {
        doc_id: offer(library, doc_id, {str(number): draw(1000 * place + number) for number in range(24)})
        for place, doc_id in enumerate(("x", "y"))
    }
    job_id = run(service, documents, model=MODEL)["job_id"]
    service.wait_for_job(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 4)
    *_, child = service.find_processes("gpu@")
    child.suspend()
    done = service.get_job(job_id)["progress"]["done"]
    assert (service.get_job(job_id)["state"], done < 48) == ("running", True)
    kill([child])
    job = service.wait_until_finished(job_id)
    assert job["state"] == "done", job["error"]
    service.wait_for_deliveries(job_id)
    assert set(read_all(service, 3)) == {"x-x", "x-y", "y-y"}
    assert len({received.headers["Webhook-Id"] for received in service.receiver.received}) == 3
    asked = [path for path in library.paths if path.startswith(("/x", "/y"))]
    assert len(asked) == len(set(asked)) == 50


def test_adding_a_document_embeds_and_compares_only_its_images(service: Service, library: Library) -> None:
    documents = {
        f"d{place}": offer(library, f"d{place}", {str(number): draw(100 * place + number) for number in range(4)})
        for place in range(5)
    }
    service.wait_until_finished(run(service, documents)["job_id"])
    read_all(service, 15)
    service.receiver.received.clear()
    caches = service.settings.data_folder / "embeddings", service.settings.data_folder / "scores"
    before = {path: path.stat().st_ino for cache in caches for path in cache.rglob("*.*")}
    library.asked.clear()
    documents["new"] = offer(library, "new", {str(number): draw(900 + number) for number in range(4)})
    job = service.wait_until_finished(run(service, documents)["job_id"])
    assert job["state"] == "done"
    assert {path for path in library.paths if path.count("/") > 1} == {f"/new/{number}" for number in range(4)}
    after = {path: path.stat().st_ino for cache in caches for path in cache.rglob("*.*")}
    assert before.items() <= after.items()
    new = sorted(path.suffix for path in after.keys() - before.keys())
    assert new == [".json", ".npy", *[".scores"] * 6, *[".verified"] * 6]
    read_all(service, 21)


def test_a_retried_image_delivers_only_the_pairs_that_changed(service: Service, library: Library) -> None:
    lists = {"p": {"1": draw(1), "2": Answer(404)}, "q": {"1": draw(2)}}
    documents = {doc_id: offer(library, doc_id, images) for doc_id, images in lists.items()}  # type: ignore[arg-type]
    job_id = run(service, documents)["job_id"]
    job = service.wait_until_finished(job_id)
    (failed,) = job["coverage"]["documents"][0]["failed"]
    assert (failed["image_name"], "404" in failed["reason"]) == ("2", True)
    assert len(read_all(service, 3)["p-q"]) == 1
    service.receiver.received.clear()
    library.answer("/p/1", Answer(body=draw(3)))
    answer = service.post(f"/jobs/{job_id}/retry")
    assert answer["message"] == "The image that failed is tried again."
    service.wait_for_job(job_id, lambda job: job["state"] == "done" and not job["coverage"]["documents"][0]["failed"])
    found = read_all(service, 2)
    assert (set(found), len(found["p-q"])) == ({"p-p", "p-q"}, 2)
    assert [each["part"] for each in service.wait_for_deliveries(job_id)].count("q-q") == 1
    service.receiver.received.clear()
    service.post(f"/jobs/{job_id}/redeliver")
    assert set(read_all(service, 3)) == {"p-p", "p-q", "q-q"}


def test_a_cancelled_comparison_delivers_nothing(service: Service, library: Library) -> None:
    url = offer(library, "long", {str(number): draw(5000 + number) for number in range(60)})
    job_id = run(service, {"long": url}, model=MODEL)["job_id"]
    service.wait_for_job(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 2)
    service.post(f"/jobs/{job_id}/cancel")
    assert (service.get_job(job_id)["state"], service.get_job(job_id)["deliveries"]) == ("cancelled", [])


def test_detected_illustrations_are_compared(service: Service, sample: str) -> None:
    job_id = service.detect(sample)
    service.wait_until_finished(job_id)
    service.wait_for_messages()
    service.receiver.received.clear()
    documents = {"one": {"job_id": job_id}, "two": {"manifest_url": sample}}
    job = service.wait_until_finished(run(service, documents)["job_id"])
    assert job["state"] == "done", job["error"]
    rows = read_all(service, 3)["one-two"]
    assert max(float(score) for score, one, two in rows if one == two) > 0.99
    annotations = requests.get(
        f"{service.api}/jobs/{job_id}/annotations?format=json", headers=service.headers, timeout=5
    )
    names = {
        f"{canvas['image_name'].removesuffix('.jpg')}_{','.join(map(str, detection['xywh']))}"
        for canvas in annotations.json()["canvases"]
        for detection in canvas["detections"]
    }
    assert {one for _, one, _ in rows} == names


def test_pages_and_crops_of_files_are_compared(service: Service, library: Library) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(3):
            archive.writestr(f"p{number}.png", draw(number, (90, 80)))
    uploaded = service.post("/run_detect", files={"file": ("ms.zip", content.getvalue())})["job_id"]
    assert service.wait_until_finished(uploaded)["state"] == "done"
    service.wait_for_messages()
    service.receiver.received.clear()
    crop = {"image_name": "p1", "xywh": [0, 0, 90, 80]}
    documents = {
        "zip": library.answer("/ms.zip", Answer(body=content.getvalue())),
        "pages": {"job_id": uploaded, "pages": True},
        "crops": {"job_id": uploaded, "crops": [crop, {"canvas_number": 9, "xywh": [0, 0, 9, 9]}]},
    }
    job = service.wait_until_finished(run(service, documents)["job_id"])
    assert job["state"] == "done", job["error"]
    assert [(each["images"], each["usable"]) for each in job["coverage"]["documents"]] == [(3, 3), (3, 3), (2, 1)]
    assert job["documents"]["crops"] == {"job_id": uploaded, "crops": 2}
    found = read_all(service, 6)
    same = [{(one, two) for score, one, two in found[pair] if float(score) > 0.999} for pair in sorted(found)]
    assert same[1] == {("p1_0,0,90,80", "p1.png")}
    assert same[4] == {(f"p{number}.png", f"p{number}.png") for number in range(3)}


def test_deleted_documents_lose_scores_but_keep_shared_embeddings(service: Service, library: Library) -> None:
    documents = {
        doc_id: offer(library, doc_id, {"1": draw(place), "2": draw(place + 60)}) for place, doc_id in enumerate("uvw")
    }
    job_id = run(service, documents)["job_id"]
    service.wait_until_finished(job_id)
    service.wait_for_deliveries(job_id)
    other = service.as_new_client_app("other")
    other_job = other.post("/run_similarity", json={"documents": {"theirs": documents["v"]}, "model": QUICK})["job_id"]
    other.wait_until_finished(other_job)
    data = service.settings.data_folder
    before = set(data.rglob("*.npy"))
    answer = service.post("/delete_similarity", json={"documents": ["u", "v", "nobody"]})
    assert (answer["forgotten"], answer["in_use"], answer["unknown"]) == (["u", "v"], [], ["nobody"])
    assert len(before - set(data.rglob("*.npy"))) == 1  # the other app still uses the embeddings of v
    scores = f"{service.api}/jobs/{job_id}/scores"
    statuses = {
        pair: requests.get(f"{scores}/{pair}", headers=service.headers, timeout=5).status_code
        for pair in ("u-u", "u-w", "v-w", "w-w")
    }
    assert statuses == {"u-u": 404, "u-w": 404, "v-w": 404, "w-w": 200}
    answer_to_other = requests.get(
        f"{service.api}/jobs/{other_job}/scores/theirs-theirs", headers=other.headers, timeout=5
    )
    assert answer_to_other.status_code == 200


def test_missing_backbone_weights_fail_the_job_with_their_name(service: Service, library: Library) -> None:
    url = offer(library, "alone", {"1": draw(1)})
    job = service.wait_until_finished(run(service, {"alone": url}, model="timm:no_such_model")["job_id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_backbone")
    assert "timm:no_such_model" in job["error"]["message"]


def search(service: Service, **request: Any) -> dict[str, Any]:
    """Search for an image; return the matches, which may be ready only after the answer."""
    answer = requests.post(f"{service.api}/search", headers=service.headers, timeout=60, **request)
    assert answer.status_code == 200, answer.text
    job = service.wait_until_finished(answer.json()["job_id"])
    assert (job["state"], job["kind"]) == ("done", "search"), job["error"]
    url = f"{service.api}/jobs/{job['job_id']}/matches"
    found: dict[str, Any] = requests.get(url, headers=service.headers, timeout=30).json()
    assert found.items() <= answer.json().items() or "matches" not in answer.json()
    return found


def test_a_search_finds_an_image_in_all_documents_of_its_client_app(service: Service, library: Library) -> None:
    app = service.as_new_client_app("searcher")
    pictures = {str(number): draw(200 + number, (240, 240)) for number in range(3)}
    documents = {"one": offer(library, "one", pictures), "two": offer(library, "two", {"twin": pictures["2"]})}
    for model in (QUICK, MODEL):
        answer = app.post("/run_similarity", json={"documents": documents, "model": model})
        assert app.wait_until_finished(answer["job_id"])["state"] == "done"
    url = library.answer("/picture.png", Answer(body=pictures["2"]))
    by_url = search(app, json={"image_url": url, "model": QUICK})
    by_file = search(app, files={"image": pictures["2"]}, data={"model": MODEL, "documents": '["two"]', "verify": "1"})
    assert (by_url["documents"], by_url["images"], by_file["images"]) == (2, 4, 1)
    best = [*by_url["matches"][:2], *by_file["matches"]]
    assert {(match["document"], match["image"]["name"]) for match in best} == {("one", "2"), ("two", "twin")}
    assert [match["verdict"] for match in best] == ["same"] * 3
    assert all(match["score"] > 0.999 and match["region_2"][2] <= 240 for match in best)
    bad = requests.post(
        f"{app.api}/search", headers=app.headers, json={"image_url": url, "model": "timm:x"}, timeout=30
    )
    assert (bad.status_code, "no documents" in bad.json()["message"]) == (400, True)


def test_the_client_compares_and_searches(service: Service, library: Library, tmp_path: Path) -> None:
    app = service.as_new_client_app("client")
    api = import_client().Client(app.api, app.headers["X-API-Key"])
    pictures = {str(number): draw(300 + number, (240, 240)) for number in range(3)}
    documents = {"one": offer(library, "c1", pictures), "two": offer(library, "c2", {"twin": pictures["2"]})}
    job = api.wait(api.compare(documents, model=QUICK, verify=10))
    (best, *_) = api.list_scores(job["job_id"], "one", "two", verdict="same")
    assert (best["image_1"]["name"], best["image_2"]["name"]) == ("2", "twin")
    (group,) = api.list_groups(job["job_id"])
    assert {member["name"] for member in group["members"]} == {"2", "twin"}
    file = np.load(io.BytesIO(api.fetch_file(job["job_id"], "scores/one-two")), allow_pickle=False)
    assert file[0].tolist()[1:] == ["2", "twin"]
    query = tmp_path / "query.png"
    query.write_bytes(pictures["1"])
    (match,) = api.search(query, model=QUICK, documents=["one", "two"], transpositions=["hflip", "rot90"], k=1)
    assert (match["document"], match["image"]["name"], match["verdict"]) == ("one", "1", "same")
    (twin,) = api.search(library.answer("/q.png", Answer(body=pictures["2"])), model=QUICK, documents=["two"])
    assert twin["image"]["name"] == "twin"


def find_sample() -> dict[str, bytes]:
    """Return the first two pages of the sample document, by file name."""
    return {path.name: path.read_bytes() for path in sorted((ROOT / "iiif" / "sample").glob("*.jpg"))[:2]}


def make_pdf(pages: Iterable[bytes]) -> bytes:
    first, *others = [Image.open(io.BytesIO(page)) for page in pages]
    file = io.BytesIO()
    first.save(file, "PDF", save_all=True, append_images=others)
    return file.getvalue()


def test_a_front_gets_the_regions_of_every_type_of_document(service: Service, library: Library) -> None:
    pages = find_sample()
    urls = {
        f"wit1_man2_{number}": library.answer(f"/{name}", Answer(body=pages[name])) for number, name in enumerate(pages)
    }
    sources = {
        "zip": library.answer("/pages.zip", Answer(body=make_zip(pages).getvalue())),
        "pdf": library.answer("/pages.pdf", Answer(body=make_pdf(pages.values()))),
        "url_list": library.answer("/list", Answer(body=urls)),
        "iiif": library.offer_manifest([Scan(300, 400)]),
    }
    documents = [{"type": kind, "src": src, "uid": f"wit1_{kind}"} for kind, src in sources.items()]
    documents.append({"type": "iiif", "src": library.answer("/gone", Answer(404)), "uid": "gone"})
    front = Front(service)
    service.receiver.answers = [500]  # to the first event, which is sent again
    found = front.wait(front.start("regions", documents, model="illustrations.pt", postprocess={"squarify": True}))
    assert found.status == "SUCCESS"
    assert {uid for uid, _ in found.regions} == {f"wit1_{kind}" for kind in sources}
    assert {model for _, model in found.regions} == {"illustrations"}
    (failure,) = found.output_error
    assert failure.startswith("gone: ")
    counts = {uid: [len(page["crops"]) for page in pages] for (uid, _), pages in found.regions.items()}
    assert counts["wit1_zip"] == counts["wit1_url_list"] == counts["wit1_pdf"]
    assert sum(counts["wit1_zip"]) > 0
    assert [page["source"] for page in found.regions["wit1_zip", "illustrations"]] == list(pages)
    boxes = [crop["absolute"] for page in found.regions["wit1_zip", "illustrations"] for crop in page["crops"]]
    assert all(box["width"] == box["height"] for box in boxes)
    status = requests.get(f"{service.api}/region_extraction/{found.tracking_id}/status", timeout=5).json()
    assert status["log"]["status"] == "SUCCESS"
    assert front.post("/regions/wit1_zip/delete?model_name=illustrations")["cleared_document"] == 1


def test_a_front_gets_the_scores_of_the_pairs_that_it_lacks(service: Service, library: Library) -> None:
    twin = draw(300, (90, 80))
    lists = {"wit1_anno1": {"wit1_0001_1,2,3,4": twin}, "wit2_anno2": {"x": twin, "y": draw(301, (90, 80))}}
    documents = [{"type": "url_list", "src": offer(library, uid, images), "uid": uid} for uid, images in lists.items()]
    front = Front(service)
    names = {"algorithm": "segswap", "feat_net": QUICK, "segswap_n": 2}
    parameters = {"topk": 20, "segswap_prefilter": True, "raw_transpositions": ["none"], **names}
    found = front.wait(front.start("similarity", documents, **names, skip_pairs=["wit1_anno1-wit1_anno1"]))
    assert (found.status, found.error, found.output_error) == ("SUCCESS", "", [])
    pairs = {pair: rows for (pair, name), rows in found.scores.items() if name == hash_parameters(parameters)}
    assert pairs.keys() == {("wit1_anno1", "wit2_anno2"), ("wit2_anno2", "wit2_anno2")}
    assert pairs["wit1_anno1", "wit2_anno2"] == [(1.0, "wit1_0001_1,2,3,4.jpg", "wit2_anno2_x.jpg")]
    assert front.post("/similarity/wit1_anno1/delete?algorithm=segswap")["cleared_document"] == 1


def test_a_front_cancels_a_task(service: Service, library: Library) -> None:
    url = offer(library, "slow", {str(number): Answer(hang=True) for number in range(2)})
    front = Front(service)
    treatment = front.start("similarity", [{"type": "url_list", "src": url, "uid": "slow"}], feat_net=QUICK)
    front.post(f"/{treatment.tracking_id}/cancel")
    status = requests.get(f"{service.api}/similarity/{treatment.tracking_id}/status", timeout=5).json()
    assert status["log"]["status"] == "CANCELLED"


def test_a_front_compares_pages_and_crops_of_every_type(service: Service, library: Library) -> None:
    pages = {f"wit1_man2_000{number}.jpg": draw(310 + number, (200, 160)) for number in (1, 2)}
    urls = {name: library.answer(f"/pages/{name}", Answer(body=page)) for name, page in pages.items()}
    sources = {
        "zip": library.answer("/pages.zip", Answer(body=make_zip(pages).getvalue())),
        "pdf": library.answer("/pages.pdf", Answer(body=make_pdf(pages.values()))),
        "url_list": library.answer("/list", Answer(body=urls)),
        "iiif": library.offer_manifest([Scan(300, 400)]),
    }
    documents = [{"type": kind, "src": src, "uid": f"doc_{kind}"} for kind, src in sources.items()]
    front = Front(service)
    found = front.wait(front.start("similarity", documents, feat_net=QUICK))
    assert (found.status, found.output_error) == ("SUCCESS", [])
    pairs = {pair: rows for (pair, _), rows in found.scores.items()}
    assert len(pairs) == 10
    best = {tuple(names) for score, *names in pairs["doc_url_list", "doc_zip"] if score > 0.99}
    assert best == {(name, name) for name in pages}
    crops = [
        {"doc_uid": f"doc_{kind}", "source": name, "crops": [{"crop_id": f"wit1_{kind}", "bbox": [20, 10, 100, 90]}]}
        for kind, name in (("zip", "wit1_man2_0001.jpg"), ("url_list", "wit1_man2_0001.jpg"))
    ]
    chosen = [document for document in documents if document["type"] in ("zip", "url_list")]
    found = front.wait(front.start("similarity", chosen, feat_net=QUICK, crops=crops, algorithm="segswap"))
    assert (found.status, found.output_error) == ("SUCCESS", [])
    ((score, *names),) = next(rows for (pair, _), rows in found.scores.items() if pair[0] != pair[1])
    assert (score, {*names}) == (1.0, {"wit1_zip.jpg", "wit1_url_list.jpg"})
