import json
from typing import Any

import pytest

from app.errors import RequestError
from app.jobs.requests import ForgetRequest, SimilarityRequest, Source, read
from app.jobs.requests.reading import parse_json
from app.jobs.requests.similarity_request import MOST_DOCUMENTS
from app.similarity.transpositions import Transposition

LIST = "https://app.example/list/1"
JOB = "0123456789abcdef" * 2


def build(**fields: Any) -> SimilarityRequest:
    """Build a request as it comes, through JSON."""
    return read(SimilarityRequest, parse_json(json.dumps({"documents": {"a": LIST}} | fields)))


def test_every_field_is_taken() -> None:
    request = build(
        documents={"a": LIST, "b": {"url": LIST}, "c": {"job_id": JOB}, "d": {"manifest_url": "https://l.example/m"}},
        model="resnet34",
        callback="https://app.example/in/",
        experiment_id=17,
        notify_url="https://app.example/news",
        topk=5,
        transpositions=["hflip", "none", "hflip"],
        pooling="gem",
        verify=0,
    )
    assert request == SimilarityRequest(
        {
            "a": Source(url=LIST),
            "b": Source(url=LIST),
            "c": Source(job_id=JOB),
            "d": Source(manifest_url="https://l.example/m"),
        },
        "resnet34",
        "https://app.example/in/",
        "17",
        "https://app.example/news",
        5,
        (Transposition.NONE, Transposition.HFLIP),
        "gem",
        0,
    )
    record = json.loads(json.dumps(request.as_json()))
    assert SimilarityRequest.from_json(record) == request
    assert record["documents"]["a"] == {"url": LIST}
    assert record["documents"]["c"] == {"job_id": JOB}
    assert (record["transpositions"], record["pooling"]) == (["none", "hflip"], "gem")


def test_what_is_not_named_has_its_default() -> None:
    request = build(model=None, topk=None, transpositions=None, pooling="")
    assert (request.model, request.topk, request.transpositions) == ("moco_v2_800ep_pretrain", 20, ("none",))
    assert request.verify == 10


def test_the_fields_of_a_form_are_taken() -> None:
    form = {"documents": json.dumps({"a": LIST}), "topk": "7", "transpositions": "hflip, rot90"}
    request = read(SimilarityRequest, form)
    assert (request.topk, request.transpositions) == (7, ("none", "hflip", "rot90"))
    assert read(SimilarityRequest, form | {"transpositions": '["vflip"]'}).transpositions == ("none", "vflip")


@pytest.mark.parametrize("doc_id", ["ms-3", "wit1-man-191", "é", "a b", "a.b", "...", "-", "1" * 200])
def test_an_id_may_be_any_name(doc_id: str) -> None:
    assert list(build(documents={doc_id: LIST}).documents) == [doc_id]


@pytest.mark.parametrize(
    "doc_id",
    [
        "", " ", "a ", "..", ".", "../secret", "/etc/passwd", "a/b", "C:\\x", "a\0", "a\nb", "\ud800", "\u202egpj",
        "1" * 201,
    ],
)  # fmt: skip
def test_an_id_that_cannot_be_used_is_named(doc_id: str) -> None:
    with pytest.raises(RequestError, match=r"^documents: .") as caught:
        build(documents={"good": LIST, doc_id: LIST})
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("documents", [None, {}, [], [LIST], 1, True, "", "no JSON", "[]", "{}", '{"a": NaN}', "null"])
def test_documents_that_are_no_mapping_are_named(documents: Any) -> None:
    with pytest.raises(RequestError, match=r"^documents"):
        build(documents=documents)


@pytest.mark.parametrize(
    "source",
    [
        None, 1, [], {}, {"url": 1}, {"url": "nowhere"}, {"url": LIST, "job_id": JOB}, {"job_id": "1"}, {"odd": LIST},
        "file:///etc/passwd", "https://me:secret@a.example/", "https://a.example/\ud800", {"job_id": "../" + JOB},
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_names_its_document(source: Any) -> None:
    with pytest.raises(RequestError, match=r"^documents: 'b'"):
        build(documents={"a": LIST, "b": source})


@pytest.mark.parametrize("text", ['{"a": "%s", "b": "%s", "a": "%s"}', '{"a": "%s", "\\u0061": "%s", "b": "%s"}'])
def test_two_documents_of_one_id_are_named(text: str) -> None:
    documents = text % ((LIST,) * 3)
    for fields in (parse_json(f'{{"documents": {documents}}}'), {"documents": documents}):
        with pytest.raises(RequestError, match="documents has two documents with the ID 'a'"):
            read(SimilarityRequest, fields)


def test_ids_that_give_two_pairs_one_name_are_rejected() -> None:
    with pytest.raises(RequestError, match="both 'a-b-c'"):
        build(documents=dict.fromkeys(("a-b", "c", "a", "b-c"), LIST))
    assert build(documents=dict.fromkeys(("ms-1", "ms-2", "ms", "ms-10"), LIST))


def test_too_many_documents_are_refused() -> None:
    assert build(documents={f"ms{number}": LIST for number in range(MOST_DOCUMENTS)})
    with pytest.raises(RequestError, match=f"has {MOST_DOCUMENTS + 1} entries; send at most {MOST_DOCUMENTS}"):
        build(documents={f"ms{number}": LIST for number in range(MOST_DOCUMENTS + 1)})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "resnet"), ("model", "../x"), ("model", 1.5), ("model", "a\nb"), ("model", "timm:../x"),
        ("callback", "nowhere"), ("callback", []), ("notify_url", "nowhere"), ("experiment_id", "x" * 201),
        ("experiment_id", "\ud800"), ("experiment_id", {}), ("experiment_id", True),
        ("topk", 0), ("topk", -1), ("topk", 1001), ("topk", 2.5), ("topk", True), ("topk", "many"), ("topk", [1]),
        ("verify", -1), ("verify", 101), ("verify", 0.5), ("verify", True), ("verify", "all"),
        ("transpositions", ["odd"]), ("transpositions", [1]), ("transpositions", {}), ("transpositions", "odd"),
        ("transpositions", 1), ("pooling", "max"), ("pooling", 1.5),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_used_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=rf"\b{field}\b"):
        build(**{field: value})


def test_a_job_waits_for_the_host_of_most_of_its_lists() -> None:
    lists = {"a": "https://b.example/1", "b": "https://c.example/1", "c": "https://c.example/2", "d": {"job_id": JOB}}
    assert build(documents=lists).host == "c.example"
    assert build(documents={"a": {"job_id": JOB}}).host == ""


@pytest.mark.parametrize("value", [None, [], {}, "a", ["a", 1], [".."], ["a/b"], ["x" * 201], ["a"] * 1001])
def test_a_list_of_ids_that_cannot_be_used_is_named(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^documents"):
        read(ForgetRequest, {"documents": value})


def test_ids_are_taken_once() -> None:
    for value in (["b", "a", "b"], '["b", "a"]'):
        assert read(ForgetRequest, {"documents": value}).documents == ["b", "a"]


def test_the_row_of_a_job_is_read_as_it_was_written() -> None:
    row = {
        "documents": {"a": {"url": LIST}, "b": {"job_id": JOB}, "c": {"manifest_url": "https://l.example/m"}},
        "model": "timm:vit_small_patch16_224.dino",
        "callback": "",
        "experiment_id": "17",
        "notify_url": "",
        "topk": 20,
        "transpositions": ["none", "rot90"],
        "pooling": "",
        "verify": 5,
    }
    assert SimilarityRequest.from_json(row).as_json() == row
