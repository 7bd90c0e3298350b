import csv
import io
import json
import re
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from app.auth import add_app
from app.jobs.states import STAGES
from app.similarity.verified_pairs import Verdict, Verification
from app.storage import Storage
from tests.support.archives import open_zip
from tests.support.comparison_results import NONE, SAME, Verified, save_result, save_verified

ODD = 'p "1" +&=?#%2F;é, 12,80,590,522'
IMAGES = {"b": ["1", "2"], "a": ["x", "y", ODD], "ms-1 %2e&": ["1"]}
PART = Verification(Verdict.PART, 0.9, 12, (10, 2, 8, 8), (0, 0, 10, 10), (0.0, 1.0, 0.0, -1.0, 0.0, 20.0))
VERIFIED: Verified = {
    ("a", 0, "b", 0): SAME,
    ("a", 0, "b", 1): NONE,
    ("a", 1, "a", 2): SAME,
    ("b", 0, "ms-1 %2e&", 0): PART,
    ("a", 1, "b", 1): Verification(Verdict.COPY, 0.3, 9, (0, 0, 5, 5), (0, 0, 5, 5), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
}


@pytest.fixture
def storage(app: Flask) -> Storage:
    found: Storage = app.extensions["services"].storage
    return found


@pytest.fixture
def waiting(client: FlaskClient, headers: dict[str, str]) -> str:
    """A similarity job in state queued."""
    documents = dict.fromkeys(IMAGES, "https://app.example/list")
    job_id: str = client.post("/run_similarity", headers=headers, json={"documents": documents}).json["job_id"]
    return job_id


@pytest.fixture
def compared(app: Flask, waiting: str) -> str:
    """A similarity job in state done, without verified pairs."""
    services = app.extensions["services"]
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    save_result(services.storage.job(waiting), [*IMAGES])
    return waiting


@pytest.fixture
def verified(storage: Storage, compared: str) -> str:
    """A similarity job in state done, with verified pairs."""
    save_verified(storage, compared, IMAGES, VERIFIED)
    return compared


def test_groups_contain_the_images_of_all_documents(
    client: FlaskClient, headers: dict[str, str], verified: str
) -> None:
    answer = client.get(f"/jobs/{verified}/groups", headers=headers)
    assert (answer.status_code, answer.json["job_id"], answer.json["total"]) == (200, verified, 2)
    first, second = answer.json["groups"]
    assert (first["group"], first["size"], first["documents"]) == (1, 3, ["a", "b", "ms-1 %2e&"])
    assert [(member["document"], member["name"]) for member in first["members"]] == [
        ("b", "1"),
        ("a", "x"),
        ("ms-1 %2e&", "1"),
    ]
    assert {member["name"] for member in second["members"]} == {"y", ODD}
    assert first["related"] == second["related"] == []
    member = first["members"][1]
    assert member.pop("picture").startswith(f"/jobs/{verified}/pairs/a/b.jpg?")
    assert member == {
        "document": "a",
        "name": "x",
        "url": "https://library.example/a/x",
        "region": [4, 2, 40, 24],  # in pixels of the full-size image
        "partner": {"document": "b", "name": "1"},
        "verdict": "same",
        "probability": 0.96,
    }


def test_groups_are_listed_page_by_page(client: FlaskClient, headers: dict[str, str], verified: str) -> None:
    url = f"/jobs/{verified}/groups?limit=1"
    pages = [client.get(f"{url}&offset={offset}", headers=headers).json for offset in range(3)]
    assert [[group["group"] for group in page["groups"]] for page in pages] == [[1], [2], []]
    assert {page["total"] for page in pages} == {2}


def test_a_page_links_to_the_next_one(client: FlaskClient, headers: dict[str, str], verified: str) -> None:
    first = client.get(f"/jobs/{verified}/groups?limit=1&format=csv", headers=headers)
    following = re.fullmatch(r'<(.*)>; rel="next"', first.headers["Link"])
    assert following
    second = client.get(following[1], headers=headers)
    assert (second.mimetype, second.text.count("\r\n")) == ("text/csv", 3)
    assert "Link" not in second.headers


@pytest.mark.parametrize("query", ["format=xml", "limit=0", "limit=10001", "offset=-1", "limit=x"])
def test_an_invalid_query_is_400(client: FlaskClient, headers: dict[str, str], verified: str, query: str) -> None:
    assert client.get(f"/jobs/{verified}/groups?{query}", headers=headers).status_code == 400


def test_csv_has_a_row_for_each_image(client: FlaskClient, headers: dict[str, str], verified: str) -> None:
    answer = client.get(f"/jobs/{verified}/groups?format=csv", headers=headers)
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["group"] for row in rows] == ["1", "1", "1", "2", "2"]
    assert [row["representative"] for row in rows] == ["yes", "no", "no", "yes", "no"]
    assert {row["image"] for row in rows} == {"1", "x", "y", ODD}
    assert (rows[1]["x"], rows[1]["y"], rows[1]["width"], rows[1]["height"]) == ("4", "2", "40", "24")


def test_iiif_has_a_manifest_for_each_group(client: FlaskClient, headers: dict[str, str], verified: str) -> None:
    answer = client.get(f"/jobs/{verified}/groups?format=iiif", headers=headers)
    assert answer.mimetype == "application/zip"
    files = open_zip(answer.data)
    assert list(files) == ["group-00001.json", "group-00002.json"]
    _, canvas, _ = json.loads(files["group-00001.json"])["items"]
    assert (canvas["width"], canvas["height"]) == (60, 40)
    assert canvas["items"][0]["items"][0]["body"]["id"] == "https://library.example/a/x"
    assert canvas["annotations"][0]["items"][0]["target"].endswith("#xywh=4,2,40,24")


def test_groups_follow_new_pairs_and_forgotten_documents(
    client: FlaskClient, headers: dict[str, str], storage: Storage, verified: str
) -> None:
    url = f"/jobs/{verified}/groups"
    assert client.get(url, headers=headers).json == client.get(url, headers=headers).json
    save_verified(storage, verified, IMAGES, VERIFIED | {("a", 2, "ms-1 %2e&", 0): SAME})
    assert [group["size"] for group in client.get(url, headers=headers).json["groups"]] == [5]
    storage.job(verified).forget_document(1)
    assert not storage.job(verified).groups.exists()
    assert [group["size"] for group in client.get(url, headers=headers).json["groups"]] == [3]


def test_a_job_without_verified_pairs_has_no_groups(
    app: Flask, client: FlaskClient, headers: dict[str, str], waiting: str
) -> None:
    early = client.get(f"/jobs/{waiting}/groups", headers=headers)
    assert (early.status_code, "no groups yet" in early.json["message"]) == (400, True)
    services = app.extensions["services"]
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    late = client.get(f"/jobs/{waiting}/groups", headers=headers)
    assert (late.status_code, "no verified pairs" in late.json["message"]) == (404, True)


def test_a_detection_job_has_neither_groups_nor_pairs(client: FlaskClient, headers: dict[str, str]) -> None:
    form = {"manifest_url": "https://library.example/manifest.json"}
    job_id = client.post("/run_detect", headers=headers, data=form).json["job_id"]
    for path in ("groups", "pairs/a/b.jpg?image_1=x&image_2=1"):
        answer = client.get(f"/jobs/{job_id}/{path}", headers=headers)
        assert (answer.status_code, "is a detection" in answer.json["message"]) == (404, True)


def test_groups_and_pairs_of_another_client_app_are_404(app: Flask, client: FlaskClient, verified: str) -> None:
    stranger = {"X-API-Key": add_app(app.extensions["services"].database, "stranger")}
    for path in ("groups", "pairs/a/b.jpg?image_1=x&image_2=1"):
        answer = client.get(f"/jobs/{verified}/{path}", headers=stranger)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def draw(client: FlaskClient, headers: dict[str, str], url: str) -> Image.Image:
    answer = client.get(url, headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    return Image.open(io.BytesIO(answer.data))


def test_every_member_of_a_group_has_a_picture(client: FlaskClient, headers: dict[str, str], verified: str) -> None:
    groups = client.get(f"/jobs/{verified}/groups", headers=headers).json["groups"]
    urls = [member["picture"] for group in groups for member in group["members"]]
    assert all(draw(client, headers, url).width > 1000 for url in urls)


@pytest.mark.parametrize(
    ("a", "b", "image_1", "image_2"),
    [
        ("b", "a", "2", "y"),  # a copy, in the other order
        ("a", "b", "x", "2"),  # no relation
        ("a", "ms-1 %2e&", ODD, "1"),  # not verified
        ("a", "a", ODD, "y"),  # the order of the images is that of the request
        ("a", "a", "x", "x"),
    ],
)
def test_any_two_images_of_a_job_are_drawn(
    client: FlaskClient, headers: dict[str, str], verified: str, a: str, b: str, image_1: str, image_2: str
) -> None:
    path = f"/jobs/{verified}/pairs/{quote(a, safe='')}/{quote(b, safe='')}.jpg"
    assert draw(client, headers, f"{path}?image_1={quote(image_1)}&image_2={quote(image_2)}").height > 300


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a/c.jpg?image_1=x&image_2=1", "no document 'c'"),
        ("a/b.jpg?image_1=x&image_2=../1", "no compared image '../1'"),
        (f"{'a' * 3000}/b.jpg?image_1=x&image_2=1", "no document"),
        ("%00/b.jpg?image_1=x&image_2=1", "no document"),
        ("..%2f..%2fa/b.jpg?image_1=x&image_2=1", "no such URL"),
        ("a/b.png?image_1=x&image_2=1", "no such URL"),
    ],
)
def test_an_unknown_pair_of_images_is_404(
    client: FlaskClient, headers: dict[str, str], verified: str, path: str, message: str
) -> None:
    answer = client.get(f"/jobs/{verified}/pairs/{path}", headers=headers)
    assert (answer.status_code, message in answer.json["message"]) == (404, True)


@pytest.mark.parametrize("query", ["image_1=x", "image_1=x&image_2="])
def test_the_picture_of_a_pair_needs_the_names_of_both_images(
    client: FlaskClient, headers: dict[str, str], verified: str, query: str
) -> None:
    answer = client.get(f"/jobs/{verified}/pairs/a/b.jpg?{query}", headers=headers)
    assert (answer.status_code, "image_2" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_the_picture_of_a_removed_or_damaged_image_is_404(
    client: FlaskClient, headers: dict[str, str], storage: Storage, verified: str, content: bytes | None
) -> None:
    file = storage.cached_image(f"{verified}/2-0.image")
    file.write_bytes(content) if content is not None else file.unlink()
    answer = client.get(f"/jobs/{verified}/pairs/a/b.jpg?image_1=x&image_2=1", headers=headers)
    assert (answer.status_code, "no longer cached" in answer.json["message"]) == (404, True)
