"""The pages of a similarity job, of searches and of models."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.database.tables import Document
from app.services import Services
from app.similarity.transpositions import Transposition
from app.storage import write_atomic
from app.web import similarity_page
from app.web.rendering import load_texts
from tests.integration.web.conftest import Browser
from tests.support.archives import make_image
from tests.support.comparison_results import SAME, save_result, save_verified
from tests.support.exported_results import PAGES
from tests.support.exported_results import save_result as save_pages
from tests.support.rows import change_job

PAIR = "document1=a&image1=x&document2=b&image2=1"


def test_the_matrix_counts_the_pairs_of_the_same_block(browser: Browser, compared: str) -> None:
    page = browser.get(f"/ui/jobs/{compared}").text
    assert f'href="/ui/jobs/{compared}?pair=a-b" aria-current="page">1</a>' in page


def test_pairs_are_sorted_by_probability_and_filtered_by_verdict(browser: Browser, compared: str) -> None:
    page = browser.get(f"/ui/jobs/{compared}?pair=a-b&verdict=copy%3F").text
    assert "No pair matches this choice." in page
    page = browser.get(f"/ui/jobs/{compared}?pair=a-b&sort=score").text
    assert "similarity 0.900" in page


def test_the_choice_of_pairs_is_kept_in_links(browser: Browser, compared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_page, "SHOWN_PAIRS", 1)
    query = "sort=score&amp;least=0.3"
    page = browser.get(f"/ui/jobs/{compared}?pair=a-b&sort=score&least=0.3").text
    assert f'href="/ui/jobs/{compared}?pair=b-b&amp;{query}"' in page
    assert f'href="/ui/jobs/{compared}?offset=1&amp;sort=score&amp;least=0.3&amp;pair=a-b#pairs" rel="next"' in page
    monkeypatch.setattr(similarity_page, "MOST_IN_MATRIX", 1)
    page = browser.get(f"/ui/jobs/{compared}?one=a&other=b&verdict=same").text
    assert '<input type="hidden" name="verdict" value="same">' in page


@pytest.mark.parametrize(("least", "count"), [("0.95", 1), ("0.97", 0), ("", 2), ("x", 2)])
def test_pairs_below_a_probability_are_left_out(
    browser: Browser, services: Services, compared: str, least: str, count: int
) -> None:
    save_verified(services.storage, compared, {"b": ["1", "2"], "a": ["x", "y"]}, {("a", 0, "b", 1): SAME})
    page = browser.get(f"/ui/jobs/{compared}?pair=a-b&least={least}").text
    assert page.count('class="pair"') == count
    assert ("No pair matches this choice." in page) == (count == 0)


def test_a_transposition_is_described_in_words(browser: Browser, compared: str) -> None:
    page = browser.get(f"/ui/jobs/{compared}?pair=a-b").text
    assert ("similarity 0.900, mirrored" in page, "hflip" in page) == (True, False)
    assert {*load_texts()["similarity"]["transpositions"]} == {*Transposition} - {"none"}


def test_a_finished_comparison_without_scores_promises_none(
    browser: Browser, services: Services, compared: str
) -> None:
    services.storage.job(compared).remove()
    assert "There are no scores of these documents.<" in browser.get(f"/ui/jobs/{compared}").text


def test_a_pair_is_shown_with_its_regions_and_laid_over_each_other(browser: Browser, compared: str) -> None:
    page = browser.get(f"/ui/jobs/{compared}/pair?{PAIR}").text
    assert "same block" in page
    assert '<rect x="4" y="2" width="40" height="24"/>' in page
    # The transform shifts by (-2, 2) pixels of the full-size images; its inverse shifts back.
    assert 'transform="matrix(1 0 0 1 2 -2)"' in page


@pytest.mark.parametrize("query", ["", "document1=c&image1=x&document2=b&image2=1", PAIR.replace("=x", "=gone")])
def test_a_pair_that_does_not_exist_is_explained(browser: Browser, compared: str, query: str) -> None:
    answer = browser.get(f"/ui/jobs/{compared}/pair?{query}")
    assert answer.status_code in (400, 404)
    assert "This did not work" in answer.text


def test_groups_are_contact_sheets_and_a_table(browser: Browser, compared: str) -> None:
    page = browser.get(f"/ui/jobs/{compared}/groups").text
    assert "Group 1: 2 images of 2 documents" in page
    answer = browser.get(f"/ui/jobs/{compared}/groups?format=csv")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == "attachment; filename=groups.csv"


@pytest.mark.parametrize("query", ["format=iiif", "limit=1", "offset=0"])
def test_groups_ignore_the_query_of_the_api(browser: Browser, compared: str, query: str) -> None:
    answer = browser.get(f"/ui/jobs/{compared}/groups?{query}")
    assert (answer.status_code, "Group 1: 2 images" in answer.text) == (200, True)


def test_groups_are_listed_page_by_page(
    browser: Browser, services: Services, compared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity_page, "SHOWN_GROUPS", 1)
    verified = {("a", 0, "b", 0): SAME, ("a", 1, "b", 1): SAME}
    save_verified(services.storage, compared, {"b": ["1", "2"], "a": ["x", "y"]}, verified)
    for offset in (0, 1):
        found = re.findall("Group ([0-9]+):", browser.get(f"/ui/jobs/{compared}/groups?offset={offset}").text)
        assert found == [str(offset + 1)]


def test_a_large_group_says_how_many_images_are_not_shown(
    browser: Browser, compared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity_page, "SHOWN_MEMBERS", 1)
    page = browser.get(f"/ui/jobs/{compared}/groups").text
    assert page.count("<li><a") == 1
    assert "Images that are not shown: 1." in page


def test_many_documents_are_chosen_from_two_lists(
    browser: Browser, compared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity_page, "MOST_IN_MATRIX", 1)
    page = browser.get(f"/ui/jobs/{compared}?one=b&other=a").text
    assert "Pairs of a and b" in page
    assert re.findall("<option selected>(.)<", page) == ["a", "b"]
    assert "Pairs of" not in browser.get(f"/ui/jobs/{compared}?one=b&other=gone").text


def test_images_of_documents_are_reduced(browser: Browser, compared: str) -> None:
    answer = browser.get(f"/ui/jobs/{compared}/image.jpg?document=a&image=x")
    with Image.open(io.BytesIO(answer.data)) as image:
        assert image.size == (30, 20)


def test_scores_can_be_downloaded(browser: Browser, compared: str) -> None:
    answer = browser.get(f"/ui/jobs/{compared}/scores/a-b?format=csv")
    assert answer.headers["Content-Disposition"] == "attachment; filename=a-b.csv"


def test_scores_of_documents_with_any_id_can_be_downloaded(
    browser: Browser, client: FlaskClient, headers: dict[str, str], services: Services, finish: Callable[[str], None]
) -> None:
    request = {"documents": {"日本": "https://app.example/list"}, "transpositions": ["hflip"]}
    job_id = client.post("/run_similarity", headers=headers, json=request).json["job_id"]
    finish(job_id)
    save_result(services.storage.job(job_id), ["日本"])
    answer = browser.get(f"/ui/jobs/{job_id}/scores/日本-日本?format=csv")
    assert answer.status_code == 200
    assert "%E6%97%A5" in answer.headers["Content-Disposition"].encode("ascii").decode()


def test_a_comparison_without_a_result_shows_its_progress(
    browser: Browser, client: FlaskClient, headers: dict[str, str]
) -> None:
    documents = {"a": "https://app.example/list"}
    job_id = client.post("/run_similarity", headers=headers, json={"documents": documents}).json["job_id"]
    assert "There are no scores of these documents yet." in browser.get(f"/ui/jobs/{job_id}").text
    answer = browser.get(f"/ui/jobs/{job_id}/groups")
    assert (answer.status_code, "no groups yet" in answer.text) == (400, True)


def test_an_image_leads_to_the_page_of_the_book(
    browser: Browser, services: Services, compared: str, detected: str
) -> None:
    source = f"/ui/jobs/{compared}/source?document=a&image=x"
    assert (
        f'href="{source.replace("&", "&amp;")}">Large image</a>' in browser.get(f"/ui/jobs/{compared}/pair?{PAIR}").text
    )
    large = f"/ui/jobs/{compared}/image.jpg?document=a&image=x&size=large"
    assert browser.get(source).location == large
    request = services.jobs.find(compared).request
    documents = request["documents"] | {"a": {"job_id": detected}}
    change_job(services.database, compared, request=request | {"documents": documents})
    assert ">Show its page</a>" in browser.get(f"/ui/jobs/{compared}/pair?{PAIR}").text
    assert browser.get(source).location == large
    pages = [replace(PAGES[1], number=1, image_name="other.jpg"), replace(PAGES[0], number=2, image_name="x.png")]
    save_pages(services.storage.job(detected), pages)
    assert browser.get(source).location == f"/ui/jobs/{detected}/pages/2"
    save_verified(services.storage, compared, {"b": ["1", "2"], "a": ["x_1,2,3,4", "y"]}, {})
    assert browser.get(f"{source}_1,2,3,4").location == f"/ui/jobs/{detected}/pages/2"


def test_the_address_of_an_uploaded_page_is_no_link(browser: Browser, services: Services, compared: str) -> None:
    path = services.storage.job(compared).document(2, ".compared")
    path.write_text(path.read_text().replace("https://library.example/a/x", "scan.pdf#page=3"))
    page = browser.get(f"/ui/jobs/{compared}/pair?{PAIR}").text
    assert "scan.pdf" not in page
    assert 'href="https://library.example/b/1" rel="noreferrer">Image at the library</a>' in page


def test_matches_are_shown_with_their_regions(
    browser: Browser, client: FlaskClient, headers: dict[str, str], services: Services, compared: str
) -> None:
    job = services.jobs.find(compared)
    services.documents.record(job, {"a": "a"})
    services.documents.record_content(job, "a", "content of a")
    query = {"image_url": "https://library.example/query.jpg", "model": job.request["model"]}
    job_id = client.post("/search", headers=headers, json=query).json["job_id"]
    image = {"document": "a", "image": {"name": "x", "url": "https://library.example/a/x"}}
    found = {"score": 0.9, "transposition": "none", "verdict": "same", "probability": 0.96, "region_2": [2, 1, 20, 12]}
    content = {"documents": 1, "images": 2, "matches": [image | found]}
    write_atomic(services.storage.job(job_id).matches, json.dumps(content).encode())
    change_job(services.database, job_id, state="done")
    page = browser.get(f"/ui/jobs/{job_id}").text
    assert f'src="/ui/jobs/{compared}/image.jpg?document=a&amp;image=x"' in page
    assert f'href="/ui/jobs/{compared}/source?document=a&amp;image=x"' in page
    assert '<rect x="2" y="1" width="20" height="12"/>' in page
    assert ("same block" in page, "probability 0.96" in page) == (True, True)
    assert "Searched: 2 images of 1 document." in page


def test_a_search_without_documents_is_explained_on_the_form(browser: Browser) -> None:
    image = (io.BytesIO(make_image()), "a.png")
    answer = browser.post("/ui/search", "/ui/search", image=image, back="/ui/search")
    assert answer.location == "/ui/search"
    assert 'class="message error"' in browser.get("/ui/search").text


def test_an_empty_file_field_does_not_hide_the_address(browser: Browser) -> None:
    browser.post("/ui/search", "/ui/search", image=(io.BytesIO(), ""), back="/ui/search")
    assert "has no image" in browser.get("/ui/search").text


def test_the_card_of_weights_is_rendered_without_html(browser: Browser, services: Services) -> None:
    card = "# Title\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n<script>alert(1)</script> [x](javascript:alert(1))\n"
    card += "![The rule & <b>more</b>](../docs/rule.png)\n"
    write_atomic(services.settings.models_folder / "illustrations.md", card.encode())
    page = browser.get("/ui/models/illustrations.pt").text
    assert "<h1>Title</h1>" in page
    assert "<td>1</td>" in page
    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    assert "The rule &amp; &lt;b&gt;more&lt;/b&gt;" in page
    assert "rule.png" not in page


def test_models_name_the_default(browser: Browser) -> None:
    page = browser.get("/ui/models").text
    assert "illustrations.pt" in page
    assert browser.get("/ui/models/gone.pt").status_code == 404


@pytest.fixture
def embedded(services: Services, compared: str) -> None:
    """Documents that a search can find: those of the comparison."""
    with services.database.session() as session:
        for number, doc_id in enumerate(("b", "a"), 1):
            ids = {"job_id": compared, "number": number, "doc_id": doc_id, "content": f"content of {doc_id}"}
            session.add(Document(app_id=1, source="x", **ids))


@pytest.mark.usefixtures("embedded")
def test_a_region_of_a_page_is_searched(browser: Browser, detected: str, services: Services) -> None:
    page = f"/ui/jobs/{detected}/pages/1"
    answer = browser.post(f"{page}/search", page, xywh="900,700,200,200")
    job = services.jobs.list_recent(1)[0]
    assert (job.kind, answer.location) == ("search", f"/ui/jobs/{job.id}")
    with Image.open(services.storage.job(job.id).query) as image:  # cut at the edge of the page, in half its size
        assert image.size == (51, 51)


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("xywh", "reason"),
    [("", "Draw a rectangle"), ("1000,0,5,5", "outside of the page"), ("1,2", "must be x,y,width")],
)
def test_a_wrong_region_is_explained(browser: Browser, detected: str, xywh: str, reason: str) -> None:
    page = f"/ui/jobs/{detected}/pages/1"
    browser.post(f"{page}/search", page, xywh=xywh, back=page)
    assert reason in browser.get(page).text
